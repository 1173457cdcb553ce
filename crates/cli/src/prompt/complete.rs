//! What Tab makes of the beginning of a word.

use rustyline::completion::Pair;

use super::grammar::{Names, TOPICS, Topic, topic};
use super::wildcards::Found;
use super::words::{Open, Word, quote, scan};
use crate::escape;

/// Tells what is in a directory, named as it was typed: empty, or with a slash at its end.
pub(super) trait Shelves {
    /// In a directory of the server.
    fn remote(&self, dir: &[u8]) -> Vec<Found>;
    /// In a directory of this machine.
    fn local(&self, dir: &[u8]) -> Vec<Found>;
}

/// What can stand in the place of the word that ends at `position`, and where that begins.
pub(super) fn complete(line: &str, position: usize, shelves: &dyn Shelves) -> (usize, Vec<Pair>) {
    let Some(line) = line.get(..position) else { return (position, Vec::new()) };
    let mut scan = scan(line.as_bytes());
    let is_in_word = scan.words.last().is_some_and(|word| word.end() == line.len());
    let word = if is_in_word { scan.words.pop() } else { None }.unwrap_or_else(|| Word::at(line.len()));
    let beginning = Beginning { text: word.bytes(), open: scan.open };
    let candidates = match &*scan.words {
        [] => beginning.among(&command_names(word.bytes().is_empty())),
        [first, before @ ..] => {
            let name = first.bytes();
            let topic = std::str::from_utf8(&name).ok().and_then(topic);
            topic.map(|topic| beginning.of(topic, before.len(), shelves)).unwrap_or_default()
        }
    };
    (word.start(), candidates)
}

/// The names of all commands: those they go by, or the others too.
fn command_names(only_first: bool) -> Vec<&'static str> {
    let of = |topic: &'static Topic| if only_first { &topic.names[..1] } else { topic.names };
    TOPICS.iter().flat_map(of).copied().collect()
}

/// What is there of a word.
struct Beginning {
    text: Vec<u8>,
    open: Option<Open>,
}

impl Beginning {
    /// What fits behind a command and so many words.
    fn of(&self, topic: &Topic, before: usize, shelves: &dyn Shelves) -> Vec<Pair> {
        match topic.names_what() {
            Names::Nothing => Vec::new(),
            Names::Options(options) => self.among(options),
            Names::Commands if before > 0 => Vec::new(),
            Names::Commands => self.among(&command_names(true)),
            Names::Remote { several, .. } if before > 0 && !several => Vec::new(),
            Names::Remote { directories, .. } => {
                self.paths(|dir| shelves.remote(dir), |found| !directories || found.is_directory)
            }
            Names::Local => self.paths(|dir| shelves.local(dir), |_| true),
        }
    }

    fn among(&self, words: &[&str]) -> Vec<Pair> {
        let fits = |word: &&&str| self.open.is_none() && word.as_bytes().starts_with(&self.text);
        let pair = |word: &&str| Pair { display: (*word).to_owned(), replacement: format!("{word} ") };
        words.iter().filter(fits).map(pair).collect()
    }

    fn paths(&self, list: impl Fn(&[u8]) -> Vec<Found>, is_wanted: impl Fn(&Found) -> bool) -> Vec<Pair> {
        let name_start = self.text.iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash + 1);
        let (dir, beginning) = self.text.split_at(name_start);
        let is_hidden = |name: &[u8]| name.starts_with(b".") && !beginning.starts_with(b".");
        let mut found = list(dir);
        found
            .retain(|found| found.name.starts_with(beginning) && !is_hidden(&found.name) && is_wanted(found));
        found.sort_by(|a, b| a.name.cmp(&b.name));
        let dir = String::from_utf8_lossy(dir);
        let is_only = found.len() == 1;
        found.iter().filter_map(|found| self.path(&dir, found, is_only)).collect()
    }

    /// A path as it is to be typed: `None` for one that can't be typed.
    fn path(&self, dir: &str, found: &Found, is_only: bool) -> Option<Pair> {
        let name = std::str::from_utf8(&found.name).ok().filter(|name| escape::text(name) == *name)?;
        let slash = if found.is_directory { "/" } else { "" };
        let mut replacement = quote(&format!("{dir}{name}{slash}"), self.open);
        if is_only && !found.is_directory {
            if let Some(Open::Quote(quote)) = self.open {
                replacement.push(char::from(quote));
            }
            replacement.push(' ');
        }
        Some(Pair { display: format!("{name}{slash}"), replacement })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::prompt::words::split;

    struct Fake;

    impl Shelves for Fake {
        fn remote(&self, dir: &[u8]) -> Vec<Found> {
            match dir {
                b"" => {
                    found(&["song.mp3", "sonata.mp3", "my song.mp3", "media/", ".hidden", "a\u{1b}b", "it's"])
                }
                b"media/" => found(&["old/", "film.mp4"]),
                _ => Vec::new(),
            }
        }

        fn local(&self, dir: &[u8]) -> Vec<Found> {
            if dir == b"/tmp/" { found(&["here.txt"]) } else { found(&["local.txt", "ldir/"]) }
        }
    }

    fn found(names: &[&str]) -> Vec<Found> {
        let one = |name: &&str| Found {
            name: name.trim_end_matches('/').into(),
            is_directory: name.ends_with('/'),
        };
        names.iter().map(one).collect()
    }

    /// The lines that Tab at the end of this one offers.
    fn tab(line: &str) -> Vec<String> {
        let (start, pairs) = complete(line, line.len(), &Fake);
        pairs.iter().map(|pair| format!("{}{}", &line[..start], pair.replacement)).collect()
    }

    #[test]
    fn commands_are_completed() {
        assert_eq!(tab("l"), ["ls "]);
        assert_eq!(tab("  ch"), ["  chdir "]);
        assert_eq!(tab("e"), ["echo ", "exit "]);
        assert_eq!(tab("c"), ["chdir ", "cd "]);
        assert!(tab("").contains(&"dl ".to_owned()) && !tab("").contains(&"get ".to_owned()));
        assert_eq!(tab("xyz"), [""; 0]);
        assert_eq!(tab("help str"), ["help stream "]);
        assert_eq!(tab("help ls "), [""; 0]);
        assert_eq!(tab("stream --count 5 --i"), ["stream --count 5 --interval "]);
        assert_eq!(tab("hello so"), [""; 0], "what is echoed has no names");
    }

    #[test]
    fn names_of_the_server_are_completed() {
        assert_eq!(tab("dl song"), ["dl song.mp3 "]);
        assert_eq!(tab("dl so"), ["dl sonata.mp3", "dl song.mp3"]);
        assert_eq!(tab("dl x m"), ["dl x media/", "dl x my\\ song.mp3"]);
        assert_eq!(tab("ls media/f"), ["ls media/film.mp4 "]);
        assert_eq!(tab("ls a me"), [""; 0]);
        assert_eq!(tab("chdir "), ["chdir media/"]);
        assert_eq!(tab("cd media/"), ["cd media/old/"]);
        assert_eq!(tab("dl ."), ["dl .hidden "]);
        assert_eq!(tab("dl a"), [""; 0], "what can't be typed is not offered");
    }

    #[test]
    fn quotes_are_kept() {
        assert_eq!(tab("dl 'my"), ["dl 'my song.mp3' "]);
        assert_eq!(tab("dl \"my s"), ["dl \"my song.mp3\" "]);
        assert_eq!(tab("dl my\\ s"), ["dl my\\ song.mp3 "]);
        assert_eq!(tab("dl 'med"), ["dl 'media/"]);
        assert_eq!(tab("dl it"), ["dl it\\'s "]);
        assert_eq!(tab("dl 'it"), ["dl 'it'\\''s' "]);
    }

    #[test]
    fn names_of_this_machine_are_completed() {
        assert_eq!(tab("put l"), ["put ldir/", "put local.txt"]);
        assert_eq!(tab("put a /tmp/h"), ["put a /tmp/here.txt "]);
    }

    #[test]
    fn the_word_at_the_cursor_is_completed() {
        let (start, pairs) = complete("dl song rest", 7, &Fake);
        assert_eq!((start, &*pairs[0].replacement), (3, "song.mp3 "));
        assert_eq!(complete("ü", 1, &Fake).1.len(), 0, "in the middle of a character");
    }

    struct One(String);

    impl Shelves for One {
        fn remote(&self, _dir: &[u8]) -> Vec<Found> {
            vec![Found { name: self.0.clone().into(), is_directory: false }]
        }

        fn local(&self, dir: &[u8]) -> Vec<Found> {
            self.remote(dir)
        }
    }

    proptest! {
        #[test]
        fn any_line_can_be_completed(line in any::<String>(), position in 0_usize..64) {
            let (start, _) = complete(&line, position, &Fake);
            prop_assert!(start <= position);
            if position <= line.len() && line.is_char_boundary(position) {
                prop_assert!(line.is_char_boundary(start));
            }
        }

        #[test]
        fn a_completed_name_is_read_as_it_is(
            name in r#"[a-c '"\\*?\[$`é-]{1,8}"#,
            typed in 0_usize..4,
            open in prop::sample::select(vec!["", "'", "\""]),
        ) {
            let beginning: String = name.chars().take(typed).collect();
            let quote = match open {
                "" => None,
                open => Some(Open::Quote(open.as_bytes()[0])),
            };
            let line = format!("dl {}", quote_word(&beginning, quote));
            let (start, pairs) = complete(&line, line.len(), &One(name.clone()));
            prop_assert_eq!(pairs.len(), 1);
            let line = format!("{}{}", &line[..start], pairs[0].replacement);
            let words = split(line.as_bytes()).unwrap();
            prop_assert_eq!(words[1].bytes(), name.as_bytes());
        }
    }

    fn quote_word(text: &str, open: Option<Open>) -> String {
        if text.is_empty() && open.is_none() { String::new() } else { quote(text, open) }
    }
}
