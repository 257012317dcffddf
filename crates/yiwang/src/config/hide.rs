//! Hides secrets in a configuration that is printed. What might be one is hidden: it never shows more than it must.

/// Passwords become `***`, also those in a database URL; references to files and variables stay.
pub fn secrets(table: &mut toml::Table) {
    for (key, value) in table.iter_mut() {
        match value {
            toml::Value::Table(inner) => secrets(inner),
            toml::Value::Array(items) => {
                items.iter_mut().filter_map(toml::Value::as_table_mut).for_each(secrets);
            }
            toml::Value::String(text)
                if !text.starts_with("file:") && !text.starts_with("env:") =>
            {
                if key == "password" && !text.is_empty() {
                    "***".clone_into(text);
                } else if let Some((scheme, rest)) = text.split_once("://") {
                    *text = format!("{scheme}://{}", without_parameters(&without_password(rest)));
                }
            }
            _ => {}
        }
    }
}

/// The part of a URL after `://` without the password of its user.
fn without_password(rest: &str) -> String {
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    // A password that is not escaped as it must be may hold any of these: then the last `@` of all ends it.
    let is_port = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let authority = &rest[..end];
    let is_broken =
        !authority.contains('@') && authority.split_once(':').is_some_and(|(_, it)| !is_port(it));
    let at = if is_broken { rest.rfind('@') } else { authority.rfind('@') };
    match at.map(|at| (rest[..at].split_once(':'), &rest[at..])) {
        Some((Some((user, _)), server)) => format!("{user}:***{server}"),
        _ => rest.to_owned(),
    }
}

/// The same without the values of parameters that may be secrets.
fn without_parameters(rest: &str) -> String {
    let Some((place, query)) = rest.split_once('?') else { return rest.to_owned() };
    let hidden = query.split('&').map(|parameter| match parameter.split_once('=') {
        Some((name, _)) if is_secret(name) => format!("{name}=***"),
        _ => parameter.to_owned(),
    });
    format!("{place}?{}", hidden.collect::<Vec<_>>().join("&"))
}

fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    ["pass", "pwd", "secret", "token", "%"].iter().any(|word| name.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_part_of_a_password_is_shown() {
        for (url, shown) in [
            ("postgres://u:p@ss@h/d", "postgres://u:***@h/d"),
            ("postgres://u:p:x@h:5432/d", "postgres://u:***@h:5432/d"),
            ("postgres://u:p/x@h/d", "postgres://u:***@h/d"),
            ("postgres://u:p?x@h/d", "postgres://u:***@h/d"),
            ("postgres://u@h/d", "postgres://u@h/d"),
            ("postgres://h:5432/d?user=a@b", "postgres://h:5432/d?user=a@b"),
            (
                "postgres://h/d?user=u&password=x@y&sslPassword=z&sslmode=require",
                "postgres://h/d?user=u&password=***&sslPassword=***&sslmode=require",
            ),
            ("file:/etc/url", "file:/etc/url"),
        ] {
            let mut table = toml::Table::new();
            table.insert("url".to_owned(), url.into());
            secrets(&mut table);
            assert_eq!(table["url"].as_str(), Some(shown), "{url}");
        }
    }
}
