#!/bin/sh
# A game on texts against its start and against likelihood alone for as long: three seeds, eight temperatures.
#
#   bench/texts.sh SHENBI TRAIN TEST OUT MINUTES [OPTION]...
#
# SHENBI: the program; TRAIN, TEST: files of texts; OUT: a folder for the runs, the pictures (OUT/1.svg and so on) and the
# figures; MINUTES: of training, for each of the six runs; options: of the game, such as --set pretrain=0.2, and of what a token
# is (OPTIONS, in the environment, go to both). One core, and five minutes of it for each evaluation.
set -eu
shenbi=$1 train=$2 test=$3 out=$4 minutes=$5
shift 5
mkdir -p "$out"
for seed in 1 2 3; do
    common="--data $train --minutes $minutes --threads 1 --seed $seed ${OPTIONS:-}"
    # shellcheck disable=SC2086
    "$shenbi" train --recipe gan-text $common "$@" --out "$out/gan$seed" >"$out/gan$seed.log" 2>&1
    # shellcheck disable=SC2086
    "$shenbi" train --recipe mle-transformer $common --out "$out/mle$seed" >"$out/mle$seed.log" 2>&1
    "$shenbi" evaluate --model "$out/gan$seed" --against "$out/mle$seed" --data "$test" -n 2000 --plot "$out/$seed.svg" --json >"$out/$seed.json"
done
python3 "$(dirname "$0")/texts.py" "$out"/[123].json
