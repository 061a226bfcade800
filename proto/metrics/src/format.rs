//! Prometheus' text format and OpenMetrics.

use std::fmt;

use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;

const OPENMETRICS: &str = "application/openmetrics-text";

/// How a page is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Prometheus' own, version 0.0.4: every scraper reads it.
    Text,
    /// OpenMetrics 1.0.0.
    OpenMetrics,
}

impl Format {
    /// The format that the `Accept` headers of a request ask for: text, unless they prefer OpenMetrics.
    pub fn asked_for<'a>(accept: impl IntoIterator<Item = &'a str>) -> Self {
        let (mut text, mut openmetrics) = (0.0_f32, 0.0_f32);
        for range in accept.into_iter().flat_map(|header| header.split(',')) {
            let mut parts = range.split(';').map(str::trim);
            let media = parts.next().unwrap_or_default();
            let weight = parts.find_map(|part| part.strip_prefix("q=")).map_or(1.0, |q| q.parse().unwrap_or(0.0));
            if media.eq_ignore_ascii_case(OPENMETRICS) {
                openmetrics = openmetrics.max(weight);
            } else if ["text/plain", "text/*", "*/*"].iter().any(|known| media.eq_ignore_ascii_case(known)) {
                text = text.max(weight);
            }
        }
        if openmetrics > text { Self::OpenMetrics } else { Self::Text }
    }

    /// The `Content-Type` of a page.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }

    /// The page of a registry.
    ///
    /// # Errors
    /// A collector or a label cannot be written.
    pub fn encode(self, registry: &Registry) -> Result<String, fmt::Error> {
        let mut page = String::new();
        encode(&mut page, registry)?;
        Ok(match self {
            Self::Text => to_text(&page),
            Self::OpenMetrics => page,
        })
    }
}

/// OpenMetrics, as the crate writes it, in the older format: it names the samples of a counter and of an info in their
/// comments, knows no info, and has neither units nor an end.
fn to_text(openmetrics: &str) -> String {
    let mut text = String::with_capacity(openmetrics.len());
    let mut help = "";
    for line in openmetrics.lines() {
        if line == "# EOF" || line.starts_with("# UNIT ") {
            continue;
        }
        if let Some(described) = line.strip_prefix("# HELP ") {
            // The type, which comes next, decides on the name.
            help = described.split_once(' ').map_or("", |(_, help)| help);
            continue;
        }
        if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|typed| typed.split_once(' ')) {
            let (suffix, kind) = match kind {
                "counter" => ("_total", "counter"),
                "info" => ("_info", "gauge"),
                "unknown" => ("", "untyped"),
                kind => ("", kind),
            };
            text.push_str(&format!("# HELP {name}{suffix} {help}\n# TYPE {name}{suffix} {kind}\n"));
            continue;
        }
        text.push_str(line);
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use prometheus_client::metrics::counter::Counter;
    use prometheus_client::metrics::gauge::Gauge;
    use prometheus_client::metrics::histogram::Histogram;

    use super::*;
    use crate::add;

    fn registry() -> Registry {
        let mut registry = Registry::default();
        let labels = [("model_name".into(), "a \"quoted\"\nname".into())];
        let labelled = registry.sub_registry_with_labels(labels.into_iter());
        add(labelled, "x_tokens", "Tokens", Counter::<u64>::default()).inc_by(3);
        add(labelled, "x_waiting", "Requests in the queue", Gauge::<i64>::default()).set(2);
        add(labelled, "x_latency_seconds", "Latency", Histogram::new([0.5, 1.0])).observe(0.7);
        registry.register("x_build", "Build", prometheus_client::metrics::info::Info::new([("version", "1")]));
        registry
    }

    #[test]
    fn a_page_in_text_names_counters_as_their_samples_and_has_no_end() {
        let page = Format::Text.encode(&registry()).unwrap();
        assert_eq!(
            page,
            r#"# HELP x_build_info Build.
# TYPE x_build_info gauge
x_build_info{version="1"} 1
# HELP x_tokens_total Tokens.
# TYPE x_tokens_total counter
x_tokens_total{model_name="a \"quoted\"\nname"} 3
# HELP x_waiting Requests in the queue.
# TYPE x_waiting gauge
x_waiting{model_name="a \"quoted\"\nname"} 2
# HELP x_latency_seconds Latency.
# TYPE x_latency_seconds histogram
x_latency_seconds_sum{model_name="a \"quoted\"\nname"} 0.7
x_latency_seconds_count{model_name="a \"quoted\"\nname"} 1
x_latency_seconds_bucket{model_name="a \"quoted\"\nname",le="0.5"} 0
x_latency_seconds_bucket{model_name="a \"quoted\"\nname",le="1.0"} 1
x_latency_seconds_bucket{model_name="a \"quoted\"\nname",le="+Inf"} 1
"#
        );
    }

    #[test]
    fn a_page_in_openmetrics_ends_with_its_mark() {
        let page = Format::OpenMetrics.encode(&registry()).unwrap();
        assert!(page.contains("# TYPE x_tokens counter\nx_tokens_total{") && page.ends_with("\n# EOF\n"), "{page}");
    }

    #[test]
    fn openmetrics_is_for_those_who_prefer_it() {
        let of_prometheus = "application/openmetrics-text;version=1.0.0;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,\
            text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
        for (accept, expected) in [
            (vec![of_prometheus], Format::OpenMetrics),
            (vec!["application/openmetrics-text"], Format::OpenMetrics),
            (vec!["text/plain;q=0.1", "Application/OpenMetrics-Text; q=0.2"], Format::OpenMetrics),
            (vec![], Format::Text),
            (vec!["*/*"], Format::Text),
            (vec!["text/plain"], Format::Text),
            (vec!["text/html,application/xhtml+xml,*/*;q=0.8"], Format::Text),
            (vec!["application/openmetrics-text;q=0.2, text/plain;q=0.5"], Format::Text),
            (vec!["application/openmetrics-text;q=0"], Format::Text),
            (vec!["application/openmetrics-text;q=nonsense"], Format::Text),
        ] {
            assert_eq!(Format::asked_for(accept.clone()), expected, "{accept:?}");
        }
    }
}
