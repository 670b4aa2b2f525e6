//! What one decision costs as policies grow, beside Cedar's own authorizer over the whole set; and a load.
//! In this process, without a gateway around it: the way from a flow to the engine is two look-ups by id.
//! Always true: both are asked the same questions about the same policies, all sizes in turn in each round.

mod company;

use std::{fmt, hint::black_box, time::Instant};

use ::policy::Engine;
use anyhow::{Result, ensure};
use company::Asker;
use nix::{
    sys::time::TimeValLike,
    time::{ClockId, clock_gettime},
};

use crate::{figures::Series, memory::Memory};

const SIZES: [usize; 5] = [10, 100, 1_000, 10_000, 100_000];
/// Questions in each mix.
const QUESTIONS: usize = 256;
/// How often in a round the engine is asked every question.
const PASSES: usize = 4;
/// The whole set is asked so many questions of a mix in a round: its time grows with the policies.
const POLICY_BUDGET: usize = 200_000;

/// A company with its policies in force.
struct Subject {
    size: usize,
    engine: Engine,
    load_s: f64,
    memory_mb: f64,
    mixes: [Mix; 2],
}

/// Questions with one answer, and what each side took in each round, in µs of processor.
struct Mix {
    answer: &'static str,
    askers: Vec<Asker>,
    ours: Vec<Series>,
    whole: Vec<Series>,
}

/// Everything measured, to be printed.
pub struct Report(Vec<Subject>);

/// Asks everything `rounds` times.
pub fn measure(rounds: u16, largest: usize) -> Result<Report> {
    let sizes = SIZES.into_iter().filter(|size| *size <= largest);
    let mut subjects = sizes.map(Subject::load).collect::<Result<Vec<_>>>()?;
    for round in 0..usize::from(rounds) {
        for Subject { size, engine, mixes, .. } in &mut subjects {
            for mix in mixes {
                mix.ask(engine, *size, round)?;
            }
        }
    }
    Ok(Report(subjects))
}

impl Subject {
    fn load(size: usize) -> Result<Self> {
        let files = company::policies(size);
        let (memory, start) = (Memory::own()?.now, Instant::now());
        let engine = Engine::load(&files, &company::zones())?;
        let load_s = start.elapsed().as_secs_f64();
        let memory_mb = (Memory::own()?.now - memory).max(0.0) / 1e6;
        ensure!(engine.len() == size, "{} policies instead of {size}", engine.len());
        let mixes = [Mix::of(&engine, "allow", size)?, Mix::of(&engine, "deny", size)?];
        Ok(Self { size, engine, load_s, memory_mb, mixes })
    }
}

impl Mix {
    fn of(engine: &Engine, answer: &'static str, size: usize) -> Result<Self> {
        let wanted = answer == "allow";
        let mut askers = Vec::with_capacity(QUESTIONS);
        for n in 0..QUESTIONS * 64 {
            let asker = Asker::new(n, company::teams(size))?;
            if askers.len() < QUESTIONS
                && engine.decide(&asker.request(), company::now()).is_allowed() == wanted
            {
                askers.push(asker);
            }
        }
        ensure!(askers.len() == QUESTIONS, "of {size} policies too few questions end in {answer}");
        Ok(Self { answer, askers, ours: Vec::new(), whole: Vec::new() })
    }

    fn ask(&mut self, engine: &Engine, size: usize, round: usize) -> Result<()> {
        let few = (POLICY_BUDGET / size).clamp(1, QUESTIONS);
        // Other questions in each round, so that all rounds together are no few people's.
        let some = || self.askers.iter().cycle().skip(round * few);
        let mut whole = Series::default();
        for asker in some().take(few) {
            let (request, now) = (asker.request(), company::now());
            let (decision, micros) = timed(|| engine.decide_by_oracle(&request, now))?;
            let ours = engine.decide(&request, now);
            ensure!(decision.is_allowed() == ours.is_allowed(), "{ours:?}, but the whole set: {decision:?}");
            whole.extend([micros]);
        }
        let mut ours = Series::default();
        for asker in self.askers.iter().cycle().take(PASSES * QUESTIONS) {
            let request = asker.request();
            ours.extend([timed(|| engine.decide(&request, company::now()))?.1]);
        }
        self.whole.push(whole);
        self.ours.push(ours);
        Ok(())
    }
}

/// What `act` returns, and the microseconds of processor it took: who else runs on this machine only
/// shows in what the caches hold.
fn timed<T>(act: impl FnOnce() -> T) -> Result<(T, f64)> {
    let start = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)?;
    let result = black_box(act());
    let took = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)? - start;
    Ok((result, took.num_nanoseconds() as f64 / 1e3))
}

/// The median over the rounds of a percentile, and its least and greatest.
fn over_rounds(rounds: &[Series], part: f64) -> String {
    let mut all = Series::default();
    all.extend(rounds.iter().filter_map(|round| round.percentile(part)));
    let at = |part| all.percentile(part).map_or_else(|| "–".to_owned(), shown);
    format!("{} ({}–{})", at(0.5), at(0.0), at(1.0))
}

fn shown(micros: f64) -> String {
    if micros < 100.0 { format!("{micros:.1}") } else { format!("{micros:.0}") }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "| policies | answer | p50 µs | p99 µs | whole set p50 µs | times |\n|--:|---|--:|--:|--:|--:|"
        )?;
        for Subject { size, mixes, .. } in &self.0 {
            for Mix { answer, ours, whole, .. } in mixes {
                let (p50, p99) = (over_rounds(ours, 0.5), over_rounds(ours, 0.99));
                let all = |rounds: &[Series]| Series::joined(rounds).percentile(0.5).unwrap_or(f64::NAN);
                let times = all(whole) / all(ours);
                writeln!(
                    f,
                    "| {size} | {answer} | {p50} | {p99} | {} | {times:.0} |",
                    over_rounds(whole, 0.5)
                )?;
            }
        }
        writeln!(f, "\n| policies | load s | memory MB |\n|--:|--:|--:|")?;
        for Subject { size, load_s, memory_mb, .. } in &self.0 {
            writeln!(f, "| {size} | {load_s:.2} | {memory_mb:.0} |")?;
        }
        write!(
            f,
            "\nProcessor time. In brackets: the least and the greatest of the rounds' own. Memory is what the process grew by."
        )
    }
}
