//! What each server offered when last asked, to whom.

use std::collections::HashMap;
use std::sync::Arc;

use doorward_model::{Audience, Catalog, ServerId};

/// For how many audiences of one server something is remembered.
const MOST: usize = 16;

/// All catalogs of all servers.
#[derive(Clone, Debug, Default)]
pub struct Catalogs {
    /// Of each server, the oldest first.
    all: HashMap<ServerId, Vec<(Audience, Arc<Catalog>)>>,
}

impl Catalogs {
    /// Takes note of what a server offers to an audience now. A server that tells its clients
    /// apart has nothing for everybody, and the other way round.
    pub fn learn(&mut self, server: ServerId, audience: Audience, catalog: Arc<Catalog>) {
        let known = self.all.entry(server).or_default();
        known.retain(|(other, _)| {
            matches!((other, &audience), (Audience::Declaring(_), Audience::Declaring(_)))
                && *other != audience
        });
        // What is forgotten is asked for again.
        if known.len() >= MOST {
            known.remove(0);
        }
        known.push((audience, catalog));
    }

    /// What this server offered, to each audience that it was asked for.
    pub fn of(&self, server: &ServerId) -> &[(Audience, Arc<Catalog>)] {
        self.all.get(server).map_or(&[], Vec::as_slice)
    }

    /// Whether this is what the server was last heard to offer to this audience.
    pub fn holds(&self, server: &ServerId, audience: &Audience, catalog: &Catalog) -> bool {
        let known = self.all.get(server).into_iter().flatten();
        known.into_iter().any(|(other, held)| other == audience && **held == *catalog)
    }

    /// Forgets what a server offered to all audiences but these.
    pub fn forget(&mut self, server: &ServerId, is_kept: impl Fn(&Audience) -> bool) {
        if let Some(known) = self.all.get_mut(server) {
            known.retain(|(audience, _)| is_kept(audience));
        }
    }

    /// Forgets all servers but these.
    pub fn retain(&mut self, is_kept: impl Fn(&ServerId) -> bool) {
        self.all.retain(|server, _| is_kept(server));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_has_one_list_for_everybody_or_one_for_each_audience() {
        let id = ServerId::try_from("a").expect("valid");
        let mut catalogs = Catalogs::default();
        let mut learn = |audience: Audience| {
            catalogs.learn(id.clone(), audience, Arc::default());
            catalogs.of(&id).iter().map(|(audience, _)| audience.clone()).collect::<Vec<_>>()
        };
        let declaring = |text: &str| Audience::Declaring(text.into());
        assert_eq!(learn(declaring("")), [declaring("")]);
        assert_eq!(learn(declaring("{}")), [declaring(""), declaring("{}")]);
        assert_eq!(learn(declaring("")), [declaring("{}"), declaring("")], "asked again");
        assert_eq!(learn(Audience::Everybody), [Audience::Everybody]);
        assert_eq!(learn(declaring("x")), [declaring("x")]);
        for number in 0..MOST {
            learn(declaring(&number.to_string()));
        }
        assert_eq!(catalogs.of(&id).len(), MOST);
        assert!(!catalogs.of(&id).iter().any(|(audience, _)| audience.holds("x")), "the oldest goes");
    }
}
