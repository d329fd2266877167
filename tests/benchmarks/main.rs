//! README's table, docs/benchmarks.md and the plot are what the files of `benches/results` give.
//!
//! `make benchmarks` (`NEMOTRON_RENDER=1 cargo test --test benchmarks`) writes all three anew.
mod plot;
mod results;
mod table;

use std::fs;
use std::path::{Path, PathBuf};

use results::Results;

/// One file for each GPU.
const GPUS: [&str; 2] = ["h100", "h200"];

const BEGIN: &str = "<!-- benches/results, by `make benchmarks` -->\n";
const END: &str = "<!-- end -->\n";

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("host has a parent").join(name)
}

/// Compares a file with what it must hold, or writes it where that was asked for.
#[track_caller]
fn settle(name: &str, found: &str, wanted: &str) {
    if std::env::var_os("NEMOTRON_RENDER").is_some() {
        fs::write(file(name), wanted).unwrap();
    } else {
        assert_eq!(found, wanted, "{name} is not what the results give: `make benchmarks` writes it anew");
    }
}

fn results(gpu: &str) -> Results {
    Results::read(&fs::read_to_string(file(&format!("benches/results/{gpu}.json"))).unwrap())
}

fn all() -> Vec<Results> {
    GPUS.iter().map(|gpu| results(gpu)).collect()
}

#[test]
fn the_tables_are_what_the_results_give() {
    for (name, table) in [("README.md", table::summary(&all())), ("docs/benchmarks.md", table::markdown(&all()))] {
        let text = fs::read_to_string(file(name)).unwrap();
        let (before, rest) = text.split_once(BEGIN).expect("the file has the line in front of the table");
        let (_, behind) = rest.split_once(END).expect("the file has the line behind the table");
        settle(name, &text, &format!("{before}{BEGIN}{table}{END}{behind}"));
    }
}

#[test]
fn the_plot_is_what_the_results_give() {
    let name = "benches/results/h200.svg";
    let found = fs::read_to_string(file(name)).unwrap_or_default();
    settle(name, &found, &plot::svg(&results("h200")));
}

#[test]
fn every_row_has_a_time_and_a_comparison_that_fits_it() {
    for run in all().into_iter().flat_map(|results| results.runs) {
        assert!(!run.programs().is_empty() && !run.works().is_empty(), "{}", run.model);
        for work in run.works() {
            let own = run.own(&work);
            for program in run.programs() {
                let Some(row) = run.row(&work, &program) else { continue };
                assert!(row.host_ms > 0.0, "{row:?}");
                let percent = own.and_then(|own| own.percent_at(row.host_ms));
                assert!(percent.is_none_or(|percent| percent > 0.0 && percent <= 105.0), "{row:?}: {percent:?} %");
            }
        }
    }
}
