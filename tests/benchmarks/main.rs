//! README's table and the plot are what `benches/results/h200.json` gives.
//!
//! `make benchmarks` (`NEMOTRON_RENDER=1 cargo test --test benchmarks`) writes both anew.
mod plot;
mod results;
mod table;

use std::fs;
use std::path::{Path, PathBuf};

use results::Results;

const BEGIN: &str = "<!-- benches/results/h200.json, by `make benchmarks` -->\n";
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

fn results() -> Results {
    Results::read(&fs::read_to_string(file("benches/results/h200.json")).unwrap())
}

#[test]
fn the_table_in_readme_is_what_the_results_give() {
    let readme = fs::read_to_string(file("README.md")).unwrap();
    let (before, rest) = readme.split_once(BEGIN).expect("README.md has the line in front of the table");
    let (_, behind) = rest.split_once(END).expect("README.md has the line behind the table");
    let wanted = format!("{before}{BEGIN}{}{END}{behind}", table::markdown(&results()));
    settle("README.md", &readme, &wanted);
}

#[test]
fn the_plot_is_what_the_results_give() {
    let name = "benches/results/h200.svg";
    let found = fs::read_to_string(file(name)).unwrap_or_default();
    settle(name, &found, &plot::svg(&results()));
}

#[test]
fn every_row_has_a_time_and_a_comparison_that_fits_it() {
    for run in results().runs {
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
