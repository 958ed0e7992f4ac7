//! Rules on the interfaces that have to be, or must not be, in the bridge. Whether they are is seen on the host.

use crate::name::InterfaceName;
use crate::network::definition::Definition;
use crate::yaml::{Fault, Place, Report};
use std::collections::HashMap;

pub(super) fn check(definition: &Definition, report: &mut Report<'_>) {
    let mut seen: HashMap<&InterfaceName, (bool, Place)> = HashMap::new();
    let required = definition.require_interfaces.iter().map(|name| (true, name));
    let forbidden = definition.forbid_interfaces.iter().map(|name| (false, name));
    for (wanted, name) in required.chain(forbidden) {
        if definition
            .bridge
            .as_ref()
            .is_some_and(|bridge| bridge.value == name.value)
        {
            report.error(
                Fault::new(name.place, format!("{} is the bridge itself", name.value))
                    .help("name interfaces that could be in it"),
            );
        }
        match seen.insert(&name.value, (wanted, name.place)) {
            None => {}
            Some((before, place)) => {
                let what = if before == wanted {
                    "is named twice"
                } else {
                    "is both required and forbidden"
                };
                report.error(
                    Fault::new(name.place, format!("{} {what}", name.value))
                        .help("remove it in one of the two places")
                        .also(place, "first named here"),
                );
            }
        }
    }
}
