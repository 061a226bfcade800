//! Worker to balancer: load reports.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use prost::Message;
use serde_json::{Map, Value, json};

use crate::domain::{LoadReport, LoadReportFormat};
use crate::xds::data::orca::v3::OrcaLoadReport;

impl From<LoadReport> for OrcaLoadReport {
    fn from(report: LoadReport) -> Self {
        let LoadReport { application_utilization, rps_fractional, eps, named_metrics } = report;
        let named_metrics = named_metrics.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        Self { application_utilization, rps_fractional, eps, named_metrics, ..Self::default() }
    }
}

impl LoadReport {
    /// The value of [`LoadReportFormat::RESPONSE_HEADER`], which is ASCII: the format's name, a space, and the report.
    ///
    /// So vLLM writes it, and Envoy 1.40 reads all three; older ones may not read the `=` of the text.
    pub fn header(self, format: LoadReportFormat) -> String {
        match format {
            LoadReportFormat::Text => self.text(),
            LoadReportFormat::Json => self.json(),
            LoadReportFormat::Bin => format!("BIN {}", STANDARD.encode(OrcaLoadReport::from(self).encode_to_vec())),
        }
    }

    fn text(&self) -> String {
        let own = self.own_fields().map(|(name, value)| format!("{name}={value}"));
        let named = self.named_metrics.iter().map(|(name, value)| format!("named_metrics.{name}={value}"));
        format!("TEXT {}", own.into_iter().chain(named).collect::<Vec<_>>().join(", "))
    }

    fn json(&self) -> String {
        let mut report: Map<String, Value> =
            self.own_fields().into_iter().map(|(name, value)| (name.to_owned(), json!(value))).collect();
        report.insert("named_metrics".to_owned(), self.named_metrics.iter().copied().collect());
        format!("JSON {}", Value::Object(report))
    }

    fn own_fields(&self) -> [(&'static str, f64); 3] {
        [
            ("application_utilization", self.application_utilization),
            ("rps_fractional", self.rps_fractional),
            ("eps", self.eps),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> LoadReport {
        LoadReport {
            application_utilization: 0.25,
            rps_fractional: 1000.0,
            eps: 0.0,
            named_metrics: vec![("num_requests_waiting", 3.0)],
        }
    }

    #[test]
    fn a_report_as_text_and_as_json_is_what_envoy_reads_and_vllm_writes() {
        assert_eq!(
            report().header(LoadReportFormat::Text),
            "TEXT application_utilization=0.25, rps_fractional=1000, eps=0, named_metrics.num_requests_waiting=3"
        );
        let json = report().header(LoadReportFormat::Json);
        let object: Value = serde_json::from_str(json.strip_prefix("JSON ").unwrap()).unwrap();
        let expected = json!({
            "application_utilization": 0.25,
            "rps_fractional": 1000.0,
            "eps": 0.0,
            "named_metrics": { "num_requests_waiting": 3.0 },
        });
        assert_eq!(object, expected);
    }

    #[test]
    fn a_report_in_binary_is_the_message_in_base64() {
        let header = report().header(LoadReportFormat::Bin);
        let bytes = STANDARD.decode(header.strip_prefix("BIN ").unwrap()).unwrap();
        // Fields 6, 8 and 9 of the xDS project's OrcaLoadReport, byte by byte.
        let named = [&[0x42, 0x1f, 0x0a, 0x14][..], b"num_requests_waiting", &[0x11], &3.0_f64.to_le_bytes()].concat();
        let expected = [&[0x31][..], &1000.0_f64.to_le_bytes(), &named, &[0x49], &0.25_f64.to_le_bytes()].concat();
        assert_eq!(bytes, expected);
    }

    #[test]
    fn a_format_is_known_by_its_name_in_any_case() {
        assert_eq!(LoadReportFormat::named("TEXT"), Some(LoadReportFormat::Text));
        assert_eq!(LoadReportFormat::named("json"), Some(LoadReportFormat::Json));
        assert_eq!(LoadReportFormat::named(" Bin "), Some(LoadReportFormat::Bin));
        assert_eq!(LoadReportFormat::named("yaml"), None);
        assert_eq!(LoadReportFormat::named(""), None);
    }
}
