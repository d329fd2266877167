//! The results as an SVG: every program's share of what the peaks allow, a panel for each run that others were timed beside.
use std::fmt::Write as _;

use crate::results::{Results, Run, Work};

const COLOURS: [&str; 4] = ["#76b900", "#4c6ef5", "#adb5bd", "#f59f00"];
const BAR: f64 = 26.0;
const GAP: f64 = 22.0;
const LEFT: f64 = 56.0;
const TOP: f64 = 58.0;
const PLOT: f64 = 240.0;
const PANEL: f64 = TOP + PLOT + 62.0;

pub fn svg(results: &Results) -> String {
    let compared: Vec<&Run> = results.runs.iter().filter(|run| run.programs().len() > 1).collect();
    let width = compared.iter().map(|run| width(run)).fold(480.0, f64::max);
    let height = PANEL * compared.len() as f64;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height:.0}\" width=\"{width:.0}\" \
         height=\"{height:.0}\" font-family=\"sans-serif\" font-size=\"11\" fill=\"#212529\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n"
    );
    for (number, run) in compared.into_iter().enumerate() {
        writeln!(svg, "<g transform=\"translate(0 {:.0})\">", PANEL * number as f64).expect("a String takes any text");
        svg += &format!("{}{}{}</g>\n", title(&results.gpu, run), axis(width), groups(run));
    }
    svg + "</svg>\n"
}

/// Room of one piece of work: a bar for each program.
fn group(run: &Run) -> f64 {
    BAR * run.programs().len() as f64 + GAP
}

/// What there is a peak for.
fn works(run: &Run) -> Vec<Work> {
    run.works().into_iter().filter(|work| run.own(work).is_some_and(|own| own.percent_of_peak.is_some())).collect()
}

fn width(run: &Run) -> f64 {
    LEFT + group(run) * works(run).len() as f64 + 20.0
}

fn text(x: f64, y: f64, attributes: &str, content: &str) -> String {
    let content = content.replace('&', "&amp;").replace('<', "&lt;");
    format!("<text x=\"{x:.1}\" y=\"{y:.1}\"{attributes}>{content}</text>\n")
}

fn title(gpu: &str, run: &Run) -> String {
    let mut svg = text(LEFT, 20.0, " font-size=\"14\" font-weight=\"bold\"", &format!("{}, {gpu}", run.model));
    let mut x = LEFT;
    for (program, colour) in run.programs().iter().zip(COLOURS) {
        svg += &format!("<rect x=\"{x:.1}\" y=\"29\" width=\"10\" height=\"10\" fill=\"{colour}\"/>\n");
        svg += &text(x + 14.0, 38.0, "", program);
        x += 34.0 + 6.2 * program.len() as f64;
    }
    svg
}

/// Lines at every quarter of the peak.
fn axis(width: f64) -> String {
    let line = |percent: u32| {
        let y = height_of(f64::from(percent));
        let colour = if percent == 100 { "#c92a2a" } else { "#dee2e6" };
        let x = width - 12.0;
        format!("<line x1=\"{LEFT:.0}\" x2=\"{x:.0}\" y1=\"{y:.1}\" y2=\"{y:.1}\" stroke=\"{colour}\"/>\n")
            + &text(LEFT - 6.0, y + 4.0, " text-anchor=\"end\"", &format!("{percent} %"))
    };
    [0, 25, 50, 75, 100].map(line).concat() + &text(LEFT + 4.0, height_of(100.0) - 4.0, " fill=\"#c92a2a\"", "the peak")
}

fn height_of(percent: f64) -> f64 {
    TOP + PLOT * (1.0 - percent / 100.0)
}

fn groups(run: &Run) -> String {
    let mut svg = String::new();
    for (number, work) in works(run).iter().enumerate() {
        let x = LEFT + GAP / 2.0 + group(run) * number as f64;
        for (place, program) in run.programs().iter().enumerate() {
            svg += &bar(run, work, program, x + BAR * place as f64, COLOURS[place % COLOURS.len()]);
        }
        let middle = x + (group(run) - GAP) / 2.0;
        let [first, second] = name(work);
        svg += &text(middle, TOP + PLOT + 32.0, " text-anchor=\"middle\"", &first);
        svg += &text(middle, TOP + PLOT + 46.0, " text-anchor=\"middle\" fill=\"#495057\"", &second);
    }
    svg
}

/// A bar with its figure, written upwards.
fn bar(run: &Run, work: &Work, program: &str, x: f64, colour: &str) -> String {
    let Some(row) = run.row(work, program) else { return String::new() };
    let Some(percent) = run.own(work).and_then(|own| own.percent_at(row.host_ms)) else { return String::new() };
    let (y, height) = (height_of(percent), PLOT * percent / 100.0);
    let width = BAR - 3.0;
    let (at, label) = (x + width / 2.0 + 4.0, (y - 5.0).max(TOP + 60.0));
    let turned = format!(" transform=\"rotate(-90 {at:.1} {label:.1})\" font-size=\"10\"");
    format!("<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" fill=\"{colour}\"/>\n")
        + &text(at, label, &turned, &row.figure())
}

fn name(work: &Work) -> [String; 2] {
    match work {
        Work::Prefill { tokens } => ["prompt".into(), format!("of {tokens}")],
        Work::Decode { batch, depth } => [format!("decode of {batch}"), format!("at {depth}")],
    }
}
