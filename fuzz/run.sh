#!/usr/bin/env bash
# Builds the fuzz targets once, with stable Rust, and runs each for MINUTES, JOBS of them at a time, on
# a copy of the committed corpus. Prints what each did; a finding is copied to fuzz/artifacts.
# MINUTES=0 only replays. KEEP=yes minimises what was learnt into fuzz/corpus, to be committed.
set -euo pipefail
cd "$(dirname "$0")"

minutes=${MINUTES:-20}
jobs=${JOBS:-$(nproc)}
read -ra targets <<<"${TARGETS:-$(basename -as .rs targets/*.rs | xargs)}"
out="${CARGO_TARGET_DIR:-$PWD/../target}/fuzz"
host=$(rustc -vV | sed -n 's/^host: //p')
export minutes scratch="$out/scratch" bin="$out/$host/release"

# What is worth committing of a corpus, for it is read by every `make test`: bytes of a unit, units, bytes.
largest=4096 units=200 bytes=300000

# What a sanitizer build turns on, without the sanitizer, which only a nightly compiler has.
coverage="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
  -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
  -Cllvm-args=-sanitizer-coverage-trace-compares"
RUSTFLAGS="$coverage --cfg fuzzing" \
  cargo build --quiet --release --locked --target "$host" --target-dir "$out" "${targets[@]/#/--bin=}"

# One target from its committed corpus until the time is over or something is found.
fuzz_one() {
  local target=$1 time=(-runs=0)
  [ "$minutes" = 0 ] || time=(-max_total_time=$((minutes * 60)))
  rm -rf "${scratch:?}/$target"
  mkdir -p "$scratch/$target/corpus" "$scratch/$target/found"
  cp corpus/"$target"/* "$scratch/$target/corpus/" 2>/dev/null || true
  "$bin/$target" "${time[@]}" -timeout=10 -rss_limit_mb=2048 -max_len=8192 -print_final_stats=1 \
    -artifact_prefix="$scratch/$target/found/" "$scratch/$target/corpus" >"$scratch/$target/log" 2>&1 || true
}
export -f fuzz_one
printf '%s\0' "${targets[@]}" | xargs -0 -P "$jobs" -I{} bash -euc 'fuzz_one {}'

told() { sed -n "s/^stat::$2: *//p" "$scratch/$1/log" | tail -n 1; }
printf '%-15s %12s %8s %6s %9s\n' target executions exec/s "new" findings
found=()
for target in "${targets[@]}"; do
  mapfile -t here < <(find "$scratch/$target/found" -type f)
  executions=$(told "$target" number_of_executed_units)
  printf '%-15s %12s %8s %6s %9s\n' "$target" "${executions:-?}" "$(told "$target" average_exec_per_sec)" \
    "$(told "$target" new_units_added)" "${#here[@]}"
  [ -n "$executions" ] || [ ${#here[@]} -gt 0 ] || { tail -n 20 "$scratch/$target/log"; exit 1; }
  for unit in "${here[@]}"; do
    mkdir -p artifacts
    cp "$unit" "artifacts/$target-$(basename "$unit")"
    found+=("$target $PWD/artifacts/$target-$(basename "$unit")")
  done
  if [ "${KEEP:-}" = yes ]; then
    rm -rf "$scratch/$target/least" && mkdir "$scratch/$target/least"
    "$bin/$target" -merge=1 -max_len=$largest "$scratch/$target/least" "$scratch/$target/corpus" >>"$scratch/$target/log" 2>&1
    rm -rf "corpus/$target" && mkdir "corpus/$target"
    # Should they be too many: some of every size, for the long ones reach what the short ones do not.
    all=$(find "$scratch/$target/least" -type f | wc -l)
    find "$scratch/$target/least" -type f -printf '%s %p\n' | sort -n |
      awk -v all="$all" -v units=$units -v bytes=$bytes \
        'NR * units / all >= taken + 1 || all <= units { taken++; if ((sum += $1) <= bytes) print $2 }' |
      xargs -r cp -t "corpus/$target"
  fi
done
[ ${#found[@]} -gt 0 ] || exit 0
echo "found; to play one again:"
for one in "${found[@]}"; do echo "  $bin/$one"; done
exit 1
