//! GeoReport XML. No document types, no entities but the five of XML itself, bounded
//! depth; the body's size is bounded where it is read.

use quick_xml::Reader;
use quick_xml::events::Event;

use super::normal::{Writer, from_text};

const MAX_DEPTH: usize = 16;

/// What a body says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Body {
    /// Requests or updates, each a JSON object.
    Records(Vec<String>),
    /// An error of the endpoint.
    Error(String),
}

/// An element with what is in it.
#[derive(Default)]
struct Element {
    name: String,
    text: String,
    /// JSON values of its children by name, in order of first appearance.
    children: Vec<(String, Vec<String>)>,
}

impl Element {
    fn json(self) -> String {
        if self.children.is_empty() {
            return from_text(&self.name, &self.text);
        }
        let mut json = Writer::default();
        for (name, mut values) in self.children {
            match values.pop() {
                Some(only) if values.is_empty() => json.member(&name, &only),
                Some(last) => {
                    values.push(last);
                    json.member(&name, &format!("[{}]", values.join(",")));
                }
                None => {}
            }
        }
        json.done()
    }
}

/// Reads a body.
pub(super) fn read(body: &[u8]) -> Result<Body, String> {
    let text = decoded(body)?;
    let mut reader = Reader::from_str(&text);
    let mut open: Vec<Element> = Vec::new();
    let mut records = Vec::new();
    let mut root: Option<String> = None;
    let mut errors: Vec<String> = Vec::new();
    loop {
        let event =
            reader.read_event().map_err(|e| format!("XML that breaks at byte {} ({e})", reader.error_position()))?;
        match event {
            Event::Start(start) => {
                let name = local(start.local_name().as_ref());
                root.get_or_insert_with(|| name.clone());
                open.push(Element { name, ..Element::default() });
                if open.len() > MAX_DEPTH {
                    return Err(format!("XML nested deeper than {MAX_DEPTH}"));
                }
            }
            Event::Empty(start) => {
                let name = local(start.local_name().as_ref());
                root.get_or_insert_with(|| name.clone());
                open.push(Element { name, ..Element::default() });
                close(&mut open, root.as_deref(), &mut records, &mut errors);
            }
            Event::End(_) => close(&mut open, root.as_deref(), &mut records, &mut errors),
            Event::Text(part) => {
                let part = part.decode().map_err(|e| format!("XML text that cannot be decoded ({e})"))?;
                push(&mut open, &part);
            }
            Event::CData(part) => {
                let part = part.decode().map_err(|e| format!("XML text that cannot be decoded ({e})"))?;
                push(&mut open, &part);
            }
            Event::GeneralRef(reference) => match reference.resolve_char_ref() {
                Ok(Some(c)) => push(&mut open, c.encode_utf8(&mut [0; 4])),
                Ok(None) => {
                    let name = reference.decode().map_err(|e| format!("an XML entity that cannot be decoded ({e})"))?;
                    let text = match name.as_ref() {
                        "lt" => "<",
                        "gt" => ">",
                        "amp" => "&",
                        "apos" => "'",
                        "quot" => "\"",
                        other => return Err(format!("XML with an entity of its own (&{other};)")),
                    };
                    push(&mut open, text);
                }
                Err(e) => return Err(format!("XML with an impossible character ({e})")),
            },
            Event::DocType(_) => return Err("XML with a document type, which is not read".to_owned()),
            Event::Eof => break,
            Event::Decl(_) | Event::PI(_) | Event::Comment(_) => {}
        }
    }
    if !open.is_empty() {
        return Err("XML that breaks off before its end".to_owned());
    }
    match root.as_deref() {
        None => Err("no XML at all".to_owned()),
        Some("errors" | "error") => Ok(Body::Error(errors.join("; "))),
        Some("service_requests" | "requests" | "service_request_updates" | "service_requests_updates") => {
            Ok(Body::Records(records))
        }
        Some(other) => Err(format!("XML whose root is <{other}>")),
    }
}

fn close(open: &mut Vec<Element>, root: Option<&str>, records: &mut Vec<String>, errors: &mut Vec<String>) {
    let Some(element) = open.pop() else { return };
    let is_error = matches!(root, Some("errors" | "error"));
    if is_error && element.children.is_empty() {
        let text = element.text.trim();
        if !text.is_empty() {
            errors.push(text.to_owned());
        }
        return;
    }
    match open.len() {
        0 => {}
        1 => records.push(element.json()),
        _ => {
            let name = element.name.clone();
            let json = element.json();
            let Some(parent) = open.last_mut() else { return };
            match parent.children.iter_mut().find(|(known, _)| *known == name) {
                Some((_, values)) => values.push(json),
                None => parent.children.push((name, vec![json])),
            }
        }
    }
}

fn push(open: &mut [Element], text: &str) {
    if let Some(element) = open.last_mut() {
        element.text.push_str(text);
    }
}

fn local(name: &[u8]) -> String {
    String::from_utf8_lossy(name).into_owned()
}

/// The body as text, by its byte order mark or the encoding it declares.
fn decoded(body: &[u8]) -> Result<String, String> {
    let start = String::from_utf8_lossy(&body[..body.len().min(200)]);
    let declared = start
        .split_once("encoding=")
        .filter(|(before, _)| before.contains("<?xml") && !before.contains("?>"))
        .and_then(|(_, rest)| rest.get(1..)?.split(['"', '\'']).next().map(str::to_owned));
    let label = declared.unwrap_or_else(|| "utf-8".to_owned());
    let encoding = encoding_rs::Encoding::for_label(label.as_bytes())
        .ok_or_else(|| format!("XML in an unknown encoding '{label}'"))?;
    let (text, used, malformed) = encoding.decode(body);
    if malformed {
        return Err(format!("XML that is not {} as it says", used.name()));
    }
    Ok(text.into_owned())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn requests_become_objects_with_text_ids_and_number_coordinates() {
        let xml = r#"<?xml version="1.0"?><service_requests><request>
            <service_request_id>0012</service_request_id><status>open</status>
            <description>lamp &amp; pole &#1083;</description><zipcode/>
            <lat>49.80</lat><long>73.10</long>
            <extended_attributes><unit>7</unit><unit>8</unit></extended_attributes>
            </request></service_requests>"#;
        let Body::Records(records) = read(xml.as_bytes()).unwrap() else { panic!("records expected") };
        assert_eq!(
            records,
            [concat!(
                r#"{"service_request_id":"0012","status":"open","description":"lamp & pole л","zipcode":null,"#,
                r#""lat":49.80,"long":73.10,"extended_attributes":{"unit":["7","8"]}}"#
            )]
        );
    }

    #[test]
    fn errors_broken_xml_and_document_types_are_told_apart() {
        let xml = "<errors><error><code>404</code><description>no such id</description></error></errors>";
        assert_eq!(read(xml.as_bytes()).unwrap(), Body::Error("404; no such id".to_owned()));
        assert_eq!(read(b"<error>bad key</error>").unwrap(), Body::Error("bad key".to_owned()));
        assert!(read(b"<service_requests><request>").unwrap_err().contains("breaks"));
        let bomb = b"<!DOCTYPE x [<!ENTITY a \"b\">]><service_requests/>";
        assert!(read(bomb).unwrap_err().contains("document type"));
        assert!(read(b"<service_requests><request><a>&a;</a></request></service_requests>").is_err());
        let deep = format!("<service_requests>{}", "<a>".repeat(40));
        assert!(read(deep.as_bytes()).unwrap_err().contains("deeper"));
        assert_eq!(read(b"<service_requests></service_requests>").unwrap(), Body::Records(Vec::new()));
    }
}
