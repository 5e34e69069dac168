//! `/`: a plain page that lists the addresses and the first figures. No script, no style,
//! nothing from elsewhere.

use std::fmt::Write as _;

use ahual_transform::reading::{FigureQuery, ReadError};
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde_json::Value;

use super::problem::Problem;
use super::{ROUTES, Site};

const POLICY: &str = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Metrics shown on the page.
const SHOWN: usize = 12;

pub(super) async fn page(State(site): State<Site>) -> Result<Response, Problem> {
    let mut html = String::from(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>Ahual</title>\n<h1>Ahual</h1>\n<p>What the pipeline has published.</p>\n<h2>Addresses</h2>\n<ul>\n",
    );
    for (route, what) in ROUTES {
        let shown = escape(route);
        let what = escape(what);
        let _ = if route.contains('{') {
            writeln!(html, "<li><code>{shown}</code>: {what}</li>")
        } else {
            writeln!(html, "<li><a href=\"{shown}\"><code>{shown}</code></a>: {what}</li>")
        };
    }
    html.push_str("</ul>\n<h2>First figures</h2>\n");
    html.push_str(&figures(&site).await?);
    html.push_str("</html>\n");
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    Ok((headers, html).into_response())
}

async fn figures(site: &Site) -> Result<String, Problem> {
    let mut table = String::from(
        "<table>\n<tr><th scope=\"col\">Metric</th><th scope=\"col\">Numerator</th>\
         <th scope=\"col\">Denominator</th><th scope=\"col\">n</th><th scope=\"col\">As of</th></tr>\n",
    );
    for metric in site.reading.metrics().into_iter().take(SHOWN) {
        let query = FigureQuery { metric: metric.name.clone(), ..FigureQuery::default() };
        let batches = match site.reading.figures(&query).await {
            Ok(batches) => batches,
            Err(ReadError::NotPublished) => return Ok("<p>Nothing is published yet.</p>\n".to_owned()),
            Err(error) => return Err(error.into()),
        };
        let (rows, _) = super::figures::rows(&batches, 1)?;
        let cell = |name: &str| match rows.first().and_then(|row| row.get(name)) {
            None | Some(Value::Null) => String::new(),
            Some(Value::String(text)) => escape(text),
            Some(other) => escape(&other.to_string()),
        };
        let _ = writeln!(
            table,
            "<tr><th scope=\"row\"><a href=\"/api/metrics/{name}\">{title}</a></th>\
             <td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
            cell("numerator"),
            cell("denominator"),
            cell("n"),
            cell("as_of"),
            name = escape(&metric.name),
            title = escape(&metric.title),
        );
    }
    table.push_str("</table>\n");
    Ok(table)
}

fn escape(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut safe, letter| {
        match letter {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            other => safe.push(other),
        }
        safe
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn markup_in_a_name_stays_text() {
        assert_eq!(super::escape("<b a=\"'\">&"), "&lt;b a=&quot;&#39;&quot;&gt;&amp;");
    }
}
