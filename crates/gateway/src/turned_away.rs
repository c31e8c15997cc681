//! Requests that are turned away before any decision: one place counts them all, and leaves an entry
//! in the log for as many of them as their address may have. Whoever refuses a request names one of
//! these reasons; there is no refusal without one.

use std::net::{IpAddr, Ipv4Addr};

use doorward_ledger::EventRecord;

use crate::gateway::Gateway;

/// Stands for clients without an address, those over stdio, where entries are rationed.
const NO_ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

/// Why a request was turned away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    Unauthenticated,
    Foreign,
    Address,
    Flood,
    Scope,
    UnknownPath,
    HttpMethod,
    MediaType,
    TransferCoding,
    HeadTooLarge,
    TooLarge,
    BrokenOff,
    Malformed,
    NoSession,
    UnknownMethod,
    Busy,
    Overloaded,
}

impl Reason {
    /// The word for it, in metrics and in the log (`docs/reference/error-codes.md`).
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Unauthenticated => "unauthenticated",
            Self::Foreign => "foreign",
            Self::Address => "address",
            Self::Flood => "flood",
            Self::Scope => "scope",
            Self::UnknownPath => "unknown_path",
            Self::HttpMethod => "http_method",
            Self::MediaType => "media_type",
            Self::TransferCoding => "transfer_coding",
            Self::HeadTooLarge => "head_too_large",
            Self::TooLarge => "too_large",
            Self::BrokenOff => "broken_off",
            Self::Malformed => "malformed",
            Self::NoSession => "no_session",
            Self::UnknownMethod => "unknown_method",
            Self::Busy => "busy",
            Self::Overloaded => "overloaded",
        }
    }
}

impl Gateway {
    /// Counts a request that is turned away, and leaves an entry about it if its address has not had
    /// too many; says whether it did.
    pub(crate) fn turned_away(&self, reason: Reason, ip: Option<IpAddr>) -> bool {
        self.turned_away_as(reason, ip, EventRecord::default())
    }

    /// The same, with more to say than the reason.
    pub(crate) fn turned_away_as(&self, reason: Reason, ip: Option<IpAddr>, event: EventRecord<'_>) -> bool {
        let reason = reason.as_str();
        self.metrics.refused(reason);
        if !self.strangers.has_entry(ip.unwrap_or(NO_ADDRESS), reason) {
            self.metrics.unrecorded();
            return false;
        }
        self.refused(EventRecord { reason, ip, ..event });
        true
    }
}
