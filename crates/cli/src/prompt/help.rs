//! What help says.

use super::grammar::{TOPICS, Topic};

/// From here on a line says what a command does.
const COLUMN: usize = 18;

/// All commands, a line each.
pub(super) fn all() -> String {
    let mut lines: Vec<String> = TOPICS.iter().map(line).collect();
    lines.push("Any other line is said back by the server. help COMMAND says more.".to_owned());
    lines.join("\n")
}

/// All there is to say of a command.
pub(super) fn of(topic: &Topic) -> String {
    let mut lines = vec![format!("{}: {}", topic.usage, topic.what)];
    if let [_, others @ ..] = topic.names
        && !others.is_empty()
    {
        lines.push(format!("The same: {}", others.join(", ")));
    }
    if !topic.more.is_empty() {
        lines.push(topic.more.to_owned());
    }
    lines.join("\n")
}

fn line(topic: &Topic) -> String {
    // Options have their place in the longer form.
    let usage = topic.usage.split(" [--").next().unwrap_or_default();
    format!("{usage:<COLUMN$}{}", topic.what)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prompt::grammar::topic;

    #[test]
    fn every_command_has_its_line() {
        let all = all();
        for topic in &TOPICS {
            assert!(all.contains(topic.what), "{all}");
            assert!(topic.usage.split(" [--").next().unwrap().len() < COLUMN, "{}", topic.usage);
        }
        assert!(all.lines().all(|line| line.len() < 80), "{all}");
    }

    #[test]
    fn a_command_has_more() {
        let text = of(topic("cd").unwrap());
        assert!(text.starts_with("chdir DIR: go to another directory"), "{text}");
        assert!(text.contains("\nThe same: cd\n"), "{text}");
        assert!(TOPICS.iter().all(|topic| of(topic).lines().all(|line| line.len() < 120)));
    }
}
