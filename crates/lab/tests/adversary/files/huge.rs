//! Directories with very many files in them.

use std::fs::File;

use lab::Transport;

use super::siege::Siege;
use framing::{Message, Part};

over_each_transport!(a_directory_of_very_many_files);

/// Files in the directory.
const FILES: u32 = 50_000;
/// How often somebody has it listed without a break.
const LISTS: u32 = 3;

fn a_directory_of_very_many_files(transport: Transport) {
    let mut siege = Siege::new(transport, &[]);
    let dir = siege.scene.to("many");
    std::fs::create_dir(&dir).unwrap();
    (0..FILES).for_each(|number| drop(File::create(dir.join(format!("file-{number:06}"))).unwrap()));
    let mut greedy = siege.peer();
    for _ in 0..LISTS {
        greedy.say(&Message::List(b"many"));
    }
    // Who lists it over and over holds nobody else up.
    siege.transfer("meanwhile.bin");
    for _ in 0..LISTS {
        let mut listed = 0;
        let over = greedy.hear(|message| {
            if let Message::Entries(page) = message {
                listed += page.iter().count();
            }
            matches!(message, Message::End(Part::Listing)).then_some(())
        });
        siege.demand(over.is_ok() && listed == FILES as usize, format!("{listed} of {FILES} are listed"));
    }
    // Nobody takes what is said here.
    let mut deaf: Vec<_> = (0..5).map(|_| siege.peer()).collect();
    deaf.iter_mut().for_each(|peer| peer.say(&Message::List(b"many")));
    for args in [&["ls", "many"][..], &["get", "many/file-012345"]] {
        let client = siege.scene.run(siege.server(), args);
        siege.demand(client.code() == Some(0), format!("{args:?}: {}", client.stderr));
    }
    let talk = siege.scene.say(siege.server(), "dl many/file-00001*\nquit\n");
    siege.demand(talk.code() == Some(0), format!("at the prompt: {}", talk.stderr));
    let fetched = siege.scene.sent_names().iter().filter(|name| name.contains("file-00001")).count();
    siege.demand(fetched == 10, format!("{fetched} of 10 were fetched"));
    siege.judge("a directory of 50,000 files", u64::from(LISTS) + 8, 64, "5 clients that never read it");
    drop(deaf);
}
