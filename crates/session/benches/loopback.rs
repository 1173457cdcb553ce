//! Whole transfers over loopback, beside hashing alone and a bare copy through a socket, in one run.
#![expect(clippy::unwrap_used, reason = "a benchmark that fails may panic")]

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::Path;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use framing::{Checksum, Hasher};
use link::{Listener, TcpEndpoint, TcpLink, TcpOptions};
use session::{
    Caller, Conversation, Event, IfExists, Limits, Observer, PutJob, Service, Sources, Store, StoreOptions,
    StreamLimits,
};

const LEN: usize = 64 << 20;

struct Silent;

impl Observer for Silent {
    fn event(&self, _: &Event<'_>) {}
}

/// Puts one file from one directory into another, over a connection of its own.
fn transfer(file: &Path, dir: &Path, checksum: Checksum) {
    let options = StoreOptions {
        dir: dir.to_owned(),
        prefix: "received-".into(),
        if_exists: IfExists::Overwrite,
        limits: Limits::default(),
    };
    let service = Service {
        store: Store::open(options).unwrap(),
        software: "bench".into(),
        takes: true,
        gives: false,
        max_generate: 0,
        streams: StreamLimits::default(),
        patience: session::Patience::default(),
    };
    let mut endpoint = TcpEndpoint::bind("127.0.0.1:0".parse().unwrap(), &TcpOptions::default()).unwrap();
    let address = endpoint.local_addr().to_string();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let (wake, _keep) = UnixStream::pair().unwrap();
            let mut link = endpoint.accept(wake.as_fd()).unwrap().unwrap();
            session::serve(link.as_mut(), &service, &Silent).unwrap();
        });
        let link = TcpLink::connect(&address, &TcpOptions::default()).unwrap();
        let sources = Sources::local(&[file.to_owned()], false, &Silent).unwrap();
        let mut job = PutJob::new(sources, checksum);
        let caller = Caller { software: "bench", observer: &Silent };
        let mut conversation = Conversation::begin(Box::new(link), caller).unwrap();
        let summary = conversation.put(&mut job, caller).unwrap();
        conversation.finish();
        assert_eq!(summary.verified, 1);
    });
    std::fs::remove_file(dir.join("received-file")).unwrap();
}

/// The same bytes through a socket, unverified, from file to file.
fn bare_copy(file: &Path, dir: &Path) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let (mut from, _) = listener.accept().unwrap();
            let mut to = std::fs::File::create(dir.join("bare")).unwrap();
            copy(&mut from, &mut to);
        });
        copy(&mut std::fs::File::open(file).unwrap(), &mut TcpStream::connect(address).unwrap());
    });
    std::fs::remove_file(dir.join("bare")).unwrap();
}

fn copy(from: &mut impl Read, to: &mut impl Write) {
    let mut buffer = vec![0; 256 * 1024];
    loop {
        let read = from.read(&mut buffer).unwrap();
        if read == 0 {
            return;
        }
        to.write_all(&buffer[..read]).unwrap();
    }
}

fn loopback(criterion: &mut Criterion) {
    // Memory, where there is a file system of it: the disk is not what is measured.
    let place = if Path::new("/dev/shm").is_dir() { "/dev/shm".into() } else { std::env::temp_dir() };
    let dir = tempfile::tempdir_in(place).unwrap();
    let file = dir.path().join("file");
    let bytes: Vec<u8> =
        (0..LEN as u64).map(|n| (n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8).collect();
    std::fs::write(&file, &bytes).unwrap();
    let mut group = criterion.benchmark_group("loopback, 64 MiB");
    group.sample_size(10).throughput(Throughput::Bytes(LEN as u64));
    for checksum in [Checksum::Md5, Checksum::Blake3] {
        group.bench_function(format!("{checksum} alone"), |bench| {
            bench.iter(|| Hasher::digest(checksum, &bytes));
        });
        group.bench_function(format!("put with {checksum}"), |bench| {
            bench.iter(|| transfer(&file, dir.path(), checksum));
        });
    }
    group.bench_function("bare copy", |bench| bench.iter(|| bare_copy(&file, dir.path())));
    group.finish();
}

criterion_group!(benches, loopback);
criterion_main!(benches);
