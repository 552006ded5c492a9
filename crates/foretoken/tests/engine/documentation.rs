//! The table of drafters in `docs/drafters.md` is the registry's.

use std::fs;

use foretoken::{DRAFTERS, Needs};

use crate::models::root;

const BEGIN: &str = "<!-- The registry's table; a test holds it to `DRAFTERS`. -->\n";
const END: &str = "<!-- end of the table -->\n";

fn table() -> String {
    let mut table = String::from(
        "| name | what it does | needs | lossless | source |\n|---|---|---|---|---|\n",
    );
    for info in DRAFTERS {
        let needs = match info.needs {
            Needs::Nothing => "nothing",
            Needs::DraftModel => "`--draft-model`",
            Needs::MedusaHeads => "`--medusa-heads`",
            Needs::Prediction => "`--prediction`",
        };
        // The rule decides what is accepted, so this is no property of a drafter.
        let row = [&format!("`{}`", info.name), info.summary, needs, "yes", info.source];
        table.extend(["| ", &row.join(" | "), " |\n"]);
    }
    table
}

#[test]
fn the_table_of_drafters_is_the_registry() {
    let page = fs::read_to_string(root().join("docs/drafters.md")).unwrap();
    let (_, rest) = page.split_once(BEGIN).expect("the table begins");
    let (found, _) = rest.split_once(END).expect("the table ends");
    let wanted = table();
    assert!(found == wanted, "docs/drafters.md must hold this table:\n{wanted}");
}
