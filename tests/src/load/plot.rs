//! A line plot over a logarithmic axis, as an SVG of its own: enough to see how something grows.

use std::fmt::Write as _;

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 400.0;
const LEFT: f64 = 80.0;
const RIGHT: f64 = 30.0;
const TOP: f64 = 40.0;
const BOTTOM: f64 = 60.0;
const COLOURS: [&str; 4] = ["#1b6ac9", "#c9571b", "#2a9d4a", "#8a4fbf"];

#[derive(Clone, Debug)]
pub struct Series {
    pub name: String,
    pub points: Vec<(f64, f64)>,
}

#[derive(Clone, Debug)]
pub struct Plot {
    pub title: String,
    pub x_label: String,
    pub y_label: String,
    pub series: Vec<Series>,
    /// Drawn as a dashed line.
    pub target: Option<f64>,
}

impl Plot {
    pub fn svg(&self) -> String {
        let scale = Scale::of(self);
        let place = |x: f64, y: f64| scale.place(x, y);
        let mut svg = format!(
            r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="12"><rect width="100%" height="100%" fill="white"/>"#
        );
        text(&mut svg, WIDTH / 2.0, 22.0, "middle", &self.title);
        text(
            &mut svg,
            WIDTH / 2.0,
            HEIGHT - 12.0,
            "middle",
            &self.x_label,
        );
        text(&mut svg, 10.0, TOP - 12.0, "start", &self.y_label);
        for step in 0..=4 {
            let value = scale.y_high * f64::from(step) / 4.0;
            let (_, y) = place(1.0, value);
            line(&mut svg, (LEFT, y), (WIDTH - RIGHT, y), "#dddddd", "");
            text(&mut svg, LEFT - 8.0, y + 4.0, "end", &label(value));
        }
        if let Some(target) = self.target {
            let (_, y) = place(1.0, target);
            line(&mut svg, (LEFT, y), (WIDTH - RIGHT, y), "#c00000", "6 4");
            text(&mut svg, WIDTH - RIGHT, y - 5.0, "end", "target");
        }
        for (index, series) in self.series.iter().enumerate() {
            let colour = COLOURS
                .get(index % COLOURS.len())
                .copied()
                .unwrap_or("black");
            let placed: Vec<(f64, f64)> =
                series.points.iter().map(|(x, y)| place(*x, *y)).collect();
            for pair in placed.windows(2) {
                if let [from, to] = pair {
                    line(&mut svg, *from, *to, colour, "");
                }
            }
            for ((x, y), (size, _)) in placed.iter().zip(&series.points) {
                let _ = write!(
                    svg,
                    r#"<circle cx="{x:.1}" cy="{y:.1}" r="3.5" fill="{colour}"/>"#
                );
                text(
                    &mut svg,
                    *x,
                    HEIGHT - BOTTOM + 18.0,
                    "middle",
                    &label(*size),
                );
            }
        }
        svg.push_str("</svg>\n");
        svg
    }
}

/// From sizes and values to places in the frame; across is logarithmic.
struct Scale {
    x_low: f64,
    x_high: f64,
    y_high: f64,
}

impl Scale {
    fn of(plot: &Plot) -> Self {
        let points = || plot.series.iter().flat_map(|series| &series.points);
        let x_low = points()
            .map(|(x, _)| *x)
            .fold(f64::INFINITY, f64::min)
            .max(1.0);
        let highest = points().map(|(_, y)| *y).chain(plot.target);
        Self {
            x_low,
            x_high: points().map(|(x, _)| *x).fold(x_low * 1.001, f64::max),
            y_high: highest.fold(f64::MIN_POSITIVE, f64::max) * 1.1,
        }
    }

    fn place(&self, x: f64, y: f64) -> (f64, f64) {
        let from = self.x_low.log10();
        let across = (x.max(1.0).log10() - from) / (self.x_high.log10() - from);
        let up = y / self.y_high;
        (
            LEFT + across * (WIDTH - LEFT - RIGHT),
            HEIGHT - BOTTOM - up * (HEIGHT - TOP - BOTTOM),
        )
    }
}

fn line(svg: &mut String, from: (f64, f64), to: (f64, f64), colour: &str, dashes: &str) {
    let _ = write!(
        svg,
        r#"<line x1="{:.1}" y1="{:.1}" x2="{:.1}" y2="{:.1}" stroke="{colour}" stroke-width="1.5" stroke-dasharray="{dashes}"/>"#,
        from.0, from.1, to.0, to.1
    );
}

fn text(svg: &mut String, x: f64, y: f64, anchor: &str, words: &str) {
    let escaped = words.replace('&', "&amp;").replace('<', "&lt;");
    let _ = write!(
        svg,
        r#"<text x="{x:.1}" y="{y:.1}" text-anchor="{anchor}">{escaped}</text>"#
    );
}

fn label(number: f64) -> String {
    if number >= 1_000_000.0 {
        format!("{:.1} M", number / 1_000_000.0)
    } else if number >= 10_000.0 {
        format!("{:.0} k", number / 1_000.0)
    } else if number >= 10.0 {
        format!("{number:.0}")
    } else {
        format!("{number:.2}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_point_is_drawn_inside_the_frame() {
        let plot = Plot {
            title: "a < b".to_owned(),
            x_label: "hosts".to_owned(),
            y_label: "ms".to_owned(),
            series: vec![Series {
                name: "median".to_owned(),
                points: vec![(1_000.0, 2.0), (100_000.0, 9.0)],
            }],
            target: Some(5.0),
        };
        let svg = plot.svg();
        assert_eq!(svg.matches("<circle").count(), 2);
        assert!(svg.contains("a &lt; b") && svg.contains("target"));
        for part in svg.split("cx=\"").skip(1) {
            let x: f64 = part.split('"').next().unwrap().parse().unwrap();
            assert!((LEFT..=WIDTH - RIGHT).contains(&x), "{x}");
        }
    }
}
