//! The namespaces as they really are: packets into the TUN reach transparent listeners, commands
//! get a network of their own, and the host is as it was. Each test runs as the user who started
//! it, and again as nobody without privileges when that user is root.

mod offloads;
mod packet;

use std::{
    fs,
    io::{Read, Write},
    net::{IpAddr, SocketAddr, TcpStream},
    os::fd::AsFd,
    path::Path,
    process::{Command, ExitCode},
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::{Duration, Instant},
};

use libtest_mimic::{Arguments, Failed, Trial};
use netio::{
    device_ns::{self, SpawnError},
    gateway_ns::{self, GatewayNet, Mode},
    helper,
    poll::Poller,
    tcp,
    tun::{Batch, Tun},
};
use nix::sys::socket::{getsockopt, sockopt};
use packet::{ACK, FIN, SYN, Segment};

/// Names the test for the process that runs it inside.
const INSIDE: &str = "NETIO_TEST_INSIDE";

type Outcome = Result<(), Failed>;
type Test = fn() -> Outcome;

/// After this long a test is hung.
const HANG: Duration = Duration::from_secs(20);

const TESTS: &[(&str, Test)] = &[
    ("syn_reaches_the_transparent_listener_v4", || handshake("100.64.0.2:40123", "10.50.0.7:5432")),
    ("syn_reaches_the_transparent_listener_v6", || handshake("[fd00:d00:d00:1::2]:40123", "[fd50::7]:8080")),
    ("what_is_not_tcp_is_dropped", what_is_not_tcp_is_dropped),
    ("two_private_gateways_live_side_by_side", two_private_gateways),
    ("own_mode_serves_a_container_and_its_restart", || inside("own_mode_twice")),
    ("a_command_gets_its_own_network", a_command_gets_its_own_network),
    ("what_a_finished_command_wrote_is_seen_until_it_is_acknowledged", unsent_is_seen),
    ("a_command_that_does_not_exist_is_named", a_command_that_does_not_exist_is_named),
    ("the_host_is_untouched", the_host_is_untouched),
    ("a_burst_is_read_as_super_packets_v4", || offloads::burst("100.64.0.2:40123", "10.50.0.7:5432")),
    ("a_burst_is_read_as_super_packets_v6", || offloads::burst("[fd00:d00:d00:1::2]:40123", "[fd50::7]:80")),
    ("a_super_segment_arrives_whole_v4", || offloads::super_segment("100.64.0.2:40123", "10.50.0.7:5432")),
    ("a_super_segment_arrives_whole_v6", || offloads::super_segment("[fd00:d00:d00:1::2]:1", "[fd50::7]:80")),
    ("without_offloads_packets_are_as_on_the_wire", offloads::plain),
    ("a_flow_stays_with_the_queue_it_is_written_to", offloads::queues),
    ("a_full_send_buffer_drops_the_rest", || inside("full_send_buffer")),
    ("a_train_wider_than_the_route_leaves_in_fragments", || inside("narrow_route")),
];

/// What runs in a process with namespaces of its own, made by unshare(1).
const INSIDE_TESTS: &[(&str, Test)] = &[
    ("own_mode_twice", own_mode_twice),
    ("full_send_buffer", offloads::full_send_buffer),
    ("narrow_route", offloads::narrow_route),
];

fn main() -> ExitCode {
    helper::dispatch();
    if let Ok(name) = std::env::var(INSIDE) {
        let trials = INSIDE_TESTS.iter().filter(|(inside, _)| *inside == name);
        let trials = trials.map(|(name, test)| Trial::test(*name, *test)).collect();
        return libtest_mimic::run(&Arguments::default(), trials).exit_code();
    }
    let mut trials: Vec<_> = TESTS.iter().map(|(name, test)| Trial::test(*name, *test)).collect();
    if nix::unistd::geteuid().is_root() {
        trials
            .extend(TESTS.iter().map(|(name, _)| Trial::test(format!("nobody::{name}"), || as_nobody(name))));
    }
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

/// Runs one test again in a process without root, capabilities or the means to gain them.
fn as_nobody(name: &str) -> Outcome {
    let nobody = ["--reuid", "65534", "--regid", "65534", "--clear-groups", "--bounding-set=-all"];
    let output = Command::new("setpriv")
        .args(nobody)
        .args(["--inh-caps=-all", "--no-new-privs"])
        .arg(std::env::current_exe()?)
        .args(["--exact", name])
        .current_dir("/")
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    if output.status.success() && text.contains("1 passed") { Ok(()) } else { Err(text.into_owned().into()) }
}

fn gateway() -> Result<GatewayNet, Failed> {
    gateway_with(Mode::Private, 1, false)
}

fn gateway_with(mode: Mode, queues: u8, offload: bool) -> Result<GatewayNet, Failed> {
    let spec = gateway_ns::Spec {
        mode,
        queues,
        mtu: 1420,
        gateway_v4: "100.64.0.1".parse()?,
        gateway_v6: "fd00:d00:d00::1".parse()?,
        device_nets: vec!["100.64.0.0/17".parse()?, "fd00:d00:d00:1::/64".parse()?],
        proxy_port: 4040,
        offload,
    };
    Ok(gateway_ns::set_up(&spec)?)
}

/// Waits until the kernel sends a packet out of the TUN.
fn next_packet(tun: &mut Tun) -> Result<Vec<u8>, Failed> {
    wait_for(&*tun)?;
    let mut batch = Batch::new(1);
    tun.read_batch(&mut batch)?;
    batch.packets().next().map(|(_, packet)| packet.to_vec()).ok_or_else(|| "nothing to read".into())
}

fn wait_for(fd: impl AsFd) -> Outcome {
    first_ready([fd]).map(drop)
}

fn first_ready<T: AsFd>(fds: impl IntoIterator<Item = T>) -> Result<usize, Failed> {
    let mut poller = Poller::new()?;
    for (token, fd) in (0..).zip(fds) {
        poller.add(fd, token)?;
    }
    let ready = poller.wait(Some(HANG))?.next().ok_or("hung")?;
    Ok(ready as usize)
}

/// A client made of packets: SYN, read the SYN-ACK, ACK. Returns the accepted connection, where it
/// came from and our last segment.
fn connect(net: &mut GatewayNet, syn: Segment) -> Result<(TcpStream, SocketAddr, Segment), Failed> {
    connect_by(net, 0, syn)
}

/// The same by one of the queues; the kernel may answer by another.
fn connect_by(
    net: &mut GatewayNet,
    queue: usize,
    syn: Segment,
) -> Result<(TcpStream, SocketAddr, Segment), Failed> {
    net.queues[queue].write_packet(&syn.packet())?;
    let ready = first_ready(&net.queues)?;
    let answer = Segment::parse(&next_packet(&mut net.queues[ready])?).ok_or("no TCP segment")?;
    assert_eq!((answer.from, answer.to), (syn.to, syn.from));
    assert_eq!((answer.flags, answer.ack), (SYN | ACK, syn.seq.wrapping_add(1)));
    let ack = Segment { seq: answer.ack, ack: answer.seq.wrapping_add(1), flags: ACK, ..syn };
    net.queues[queue].write_packet(&ack.packet())?;
    let listener = net.listeners.get(usize::from(syn.to.is_ipv6())).ok_or("no such listener")?;
    wait_for(listener)?;
    let (stream, peer) = tcp::accept_with_addr(listener)?;
    Ok((stream, peer, ack))
}

/// What decides how fast an accepted connection sends.
fn congestion_control(stream: &TcpStream) -> Result<String, Failed> {
    let name = getsockopt(stream, sockopt::TcpCongestion)?;
    Ok(name.to_string_lossy().trim_end_matches('\0').to_owned())
}

fn handshake(device: &str, target: &str) -> Outcome {
    let mut net = gateway()?;
    let syn = Segment { from: device.parse()?, to: target.parse()?, seq: 0xdead_beef, ack: 0, flags: SYN };
    let (mut stream, peer, _) = connect(&mut net, syn)?;

    assert_eq!(peer, syn.from);
    assert_eq!(stream.local_addr()?, syn.to, "the accepted socket has the address the device wanted");
    let saved = tcp::saved_syn(&stream)?.ok_or("the SYN was not saved")?;
    assert_eq!((saved.isn, saved.from, saved.to), (syn.seq, syn.from, syn.to));

    assert_eq!(congestion_control(&stream)?, "bbr", "{:?}", net.notes);
    assert_eq!(net.congestion, "bbr", "what is told is what serves");

    stream.write_all(b"hello")?;
    assert!(next_packet(&mut net.queues[0])?.ends_with(b"hello"));
    Ok(())
}

fn what_is_not_tcp_is_dropped() -> Outcome {
    let mut net = gateway()?;
    let syn = Segment {
        from: "100.64.0.2:40123".parse()?,
        to: "100.64.0.1:80".parse()?,
        seq: 7,
        ack: 0,
        flags: SYN,
    };
    // An echo request the kernel would answer: to its own address.
    let tun = &mut net.queues[0];
    tun.write_packet(&packet::echo_request("100.64.0.2".parse()?, "100.64.0.1".parse()?))?;
    tun.write_packet(&syn.packet())?;
    let first = Segment::parse(&next_packet(tun)?).ok_or("the echo request was answered")?;
    assert_eq!(first.flags, SYN | ACK);
    Ok(())
}

fn two_private_gateways() -> Outcome {
    let (mut one, mut two) = (gateway()?, gateway()?);
    let syn =
        Segment { from: "100.64.0.9:1".parse()?, to: "10.0.0.1:22".parse()?, seq: 1, ack: 0, flags: SYN };
    connect(&mut one, syn)?;
    connect(&mut two, syn)?;
    Ok(())
}

/// Runs a test in a process with namespaces of its own, which stands for a container.
fn inside(name: &str) -> Outcome {
    let output =
        Command::new("unshare").arg("-Urn").arg(std::env::current_exe()?).env(INSIDE, name).output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    if output.status.success() && text.contains("1 passed") { Ok(()) } else { Err(text.into_owned().into()) }
}

/// The rules and routes of the first stay in the namespace; the second must not mind. The container's
/// own congestion control is left to whatever else it runs.
fn own_mode_twice() -> Outcome {
    let default = "/proc/sys/net/ipv4/tcp_congestion_control";
    fs::write(default, "reno")?;
    for (source, queues) in [("100.64.0.9:1", 1), ("100.64.0.9:2", 1), ("100.64.0.9:3", 4)] {
        let mut net = gateway_with(Mode::Own, queues, false)?;
        let syn = Segment { from: source.parse()?, to: "10.0.0.1:22".parse()?, seq: 1, ack: 0, flags: SYN };
        let (stream, ..) = connect(&mut net, syn)?;
        assert_eq!(congestion_control(&stream)?, "bbr", "{:?}", net.notes);
        assert_eq!(fs::read_to_string(default)?.trim(), "reno");
        let error = gateway_with(Mode::Own, queues, false).err().ok_or("two gateways in one namespace")?;
        let text = error.message().unwrap_or_default();
        // At the interface already: its queues are not joined.
        assert!(text.contains("make the TUN interface"), "{text}");
        assert!(text.contains("another gateway is running"), "{text}");
    }
    Ok(())
}

fn device(dns: &[&str]) -> Result<device_ns::Spec, Failed> {
    Ok(device_ns::Spec {
        addresses: vec!["100.64.0.2".parse()?, "fd00:d00:d00:1::2".parse()?],
        routes: vec!["100.64.0.0/16".parse()?, "fd00:d00:d00::/48".parse()?],
        mtu: 1380,
        offload: false,
        dns: dns.iter().map(|text| text.parse::<IpAddr>()).collect::<Result<_, _>>()?,
        search: vec!["corp.example".into()],
    })
}

/// Runs a shell script with a device's network; its output and the TUN.
fn in_device(script: &str) -> Result<(String, Tun), Failed> {
    static SERIAL: AtomicU32 = AtomicU32::new(0);
    let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
    let out = std::env::temp_dir().join(format!("netio-{}-{serial}", std::process::id()));
    let script = format!("exec > {}\n{script}", out.display());
    let command = ["sh", "-ec", &script].map(Into::into);
    let mut net = device_ns::spawn(&device(&["100.64.0.1"])?, &command)?;
    let status = net.command.wait()?;
    let text = fs::read_to_string(&out)?;
    fs::remove_file(&out)?;
    if status.success() { Ok((text, net.tun)) } else { Err(format!("{status}: {text}").into()) }
}

fn a_command_gets_its_own_network() -> Outcome {
    let script =
        "id -u; id -g; cat /proc/net/dev | tail -n +3 | cut -d: -f1 | tr -d ' ' | sort | tr '\\n' ' '; echo
        cat /etc/resolv.conf | tail -n +2; ls /run/dbus 2>/dev/null | wc -l
        ip -4 route show; grep Cap /proc/self/status; ip -o link show door0";
    let (text, mut tun) = in_device(script)?;
    let own = format!("{}\n{}\ndoor0 lo \n", nix::unistd::getuid(), nix::unistd::getgid());
    assert!(text.starts_with(&own), "{text}");
    assert!(text.contains("nameserver 100.64.0.1\nsearch corp.example\n0\n"), "{text}");
    assert!(text.contains("100.64.0.0/16 dev door0 proto static scope link"), "{text}");
    assert!(!text.contains("default via"), "{text}");
    assert!(text.contains("mtu 1380"), "{text}");
    if !nix::unistd::getuid().is_root() {
        assert!(text.contains("CapEff:\t0000000000000000"), "{text}");
        // Programs with file capabilities, such as ping, run only within the bounding set.
        assert!(!text.contains("CapBnd:\t0000000000000000"), "{text}");
    }
    // Nothing was said unasked: no router solicitation, no multicast report.
    let mut batch = Batch::new(1);
    assert_eq!(tun.read_batch(&mut batch)?, 0, "{:?}", batch.packets().collect::<Vec<_>>());
    Ok(())
}

fn unsent_is_seen() -> Outcome {
    let script = "exec 3<>/dev/tcp/100.64.0.9/80; echo hello >&3";
    let mut net = device_ns::spawn(&device(&[])?, &["bash", "-c", script].map(Into::into))?;
    let answer = |tun: &mut Tun, packet: &[u8], flags| -> Outcome {
        let theirs = Segment::parse(packet).ok_or("no TCP segment")?;
        let ack = packet::acknowledges(packet).ok_or("no TCP segment")?;
        let seq = if flags & SYN == 0 { 2 } else { 1 };
        let ours = Segment { from: theirs.to, to: theirs.from, seq, ack, flags };
        Ok(tun.write_packet(&ours.packet())?)
    };
    let syn = next_packet(&mut net.tun)?;
    answer(&mut net.tun, &syn, SYN | ACK)?;
    let last = loop {
        let packet = next_packet(&mut net.tun)?;
        if Segment::parse(&packet).is_some_and(|segment| segment.flags & FIN != 0) {
            break packet;
        }
    };
    assert!(net.command.wait()?.success());
    assert!(net.sockets.unsent()?, "the text and the goodbye are not acknowledged");
    answer(&mut net.tun, &last, ACK)?;
    let begin = Instant::now();
    while net.sockets.unsent()? {
        assert!(begin.elapsed() < HANG, "still unsent");
        thread::yield_now();
    }
    Ok(())
}

fn a_command_that_does_not_exist_is_named() -> Outcome {
    match device_ns::spawn(&device(&[])?, &["/no/such/program".into()]) {
        Err(SpawnError::Execute { program, source }) => {
            assert_eq!(program, "/no/such/program");
            assert_eq!(source.kind(), std::io::ErrorKind::NotFound);
            Ok(())
        }
        other => Err(format!("{other:?}").into()),
    }
}

/// What a careless set-up would change.
fn host_state() -> Result<String, Failed> {
    let mut state = String::new();
    let views: [&[&str]; 6] = [
        &["-br", "addr"],
        &["rule"],
        &["-6", "rule"],
        &["route", "show", "table", "all"],
        &["-6", "route", "show", "table", "all"],
        &["netns"],
    ];
    for arguments in views {
        let output = Command::new("ip").args(arguments).output()?;
        state += &String::from_utf8_lossy(&output.stdout);
    }
    for name in ["ipv4/tcp_syncookies", "core/somaxconn", "ipv4/ip_forward", "ipv4/tcp_rmem"] {
        state += &fs::read_to_string(Path::new("/proc/sys/net").join(name))?;
    }
    for file in ["/etc/resolv.conf", "/proc/self/mountinfo"] {
        fs::File::open(file)?.read_to_string(&mut state)?;
    }
    Ok(state)
}

fn the_host_is_untouched() -> Outcome {
    let before = host_state()?;
    let net = gateway()?;
    let (_, tun) = in_device("true")?;
    assert_eq!(host_state()?, before);
    drop((net, tun));
    assert_eq!(host_state()?, before);
    Ok(())
}
