//! Lists that are not as they should be: malformed definitions, errors, silence.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};

use serde_json::{Value, json};
use tokio::sync::watch;

/// What a server does about a method.
#[derive(Clone, PartialEq, Eq)]
enum Fault {
    Fails,
    Hangs,
}

#[derive(Default)]
pub(super) struct Lists {
    /// Tools beside the usual ones, as they are to be defined.
    defined: Mutex<Vec<Value>>,
    faults: watch::Sender<BTreeMap<String, Fault>>,
}

impl Lists {
    pub(super) fn define(&self, tool: Value) {
        self.defined().push(tool);
    }

    pub(super) fn fail(&self, method: &str) {
        self.becomes(method, Some(Fault::Fails));
    }

    pub(super) fn hang(&self, method: &str) {
        self.becomes(method, Some(Fault::Hangs));
    }

    pub(super) fn mend(&self, method: &str) {
        self.becomes(method, None);
    }

    fn becomes(&self, method: &str, fault: Option<Fault>) {
        self.faults.send_modify(|faults| {
            faults.remove(method);
            faults.extend(fault.map(|fault| (method.to_owned(), fault)));
        });
    }

    /// Waits while this method hangs; says whether it fails.
    pub(super) async fn fails(&self, method: &str) -> bool {
        let mut faults = self.faults.subscribe();
        let answers = faults.wait_for(|faults| faults.get(method) != Some(&Fault::Hangs)).await;
        answers.is_ok_and(|faults| faults.get(method) == Some(&Fault::Fails))
    }

    /// Adds what was defined to a list of tools.
    pub(super) fn extend(&self, reply: &mut Value) {
        if let Some(tools) = reply.pointer_mut("/result/tools").and_then(Value::as_array_mut) {
            tools.extend(self.defined().iter().cloned());
        }
    }

    fn defined(&self) -> MutexGuard<'_, Vec<Value>> {
        self.defined.lock().expect("not poisoned")
    }
}

/// What a method that fails is answered with.
pub(super) fn failure() -> Value {
    json!({"error": {"code": -32603, "message": "database is down"}})
}
