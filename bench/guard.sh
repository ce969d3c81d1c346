#!/bin/sh
# The collapse guard on runs that collapse and on runs that do not: one line each, with the alarms.
#
#   bench/guard.sh SHENBI MNIST CIFAR EMOJI OUT [NAME]...
#
# SHENBI: the program; MNIST: the folder of its files; CIFAR: a folder or zip of pictures by class; EMOJI: a folder of 500
# PNG; OUT: a folder for the runs. With names, only these runs. A minute or so each on one core; look at OUT/NAME/samples
# as well: whether a run collapsed is for the eye to say.
set -eu
shenbi=$1 mnist=$2 cifar=$3 emoji=$4 out=$5
shift 5
only=" $* "
mkdir -p "$out"

run() {
    name=$1
    shift
    case "$only" in "  " | *" $name "*) ;; *) return 0 ;; esac
    rm -rf "${out:?}/$name"
    "$shenbi" train --set height=32 --set width=32 --set hidden=16 --set batch=32 --threads 1 "$@" --out "$out/$name" >"$out/$name.log" 2>&1 ||
        echo "$name ended early: $(tail -n 1 "$out/$name.log")"
    tr '\r' '\n' <"$out/$name.log" | grep 'warning: at step' >"$out/$name.alarms" || true
    echo "$name: $(wc -l <"$out/$name.alarms") alarms"
    cut -c1-120 "$out/$name.alarms"
}

# Collapses.
run no-penalty --recipe wgan --data "$emoji" --set clip=0 --set generator_rate=5e-4 --set discriminator_rate=5e-4 --kimg 50
run slow-d --recipe dcgan --data "$emoji" --set discriminator_rate=2e-6 --kimg 40
run few-pictures --recipe dcgan --data "$emoji" --set height=64 --set width=64 --set hidden=32 --kimg 60
run one-picture --recipe dcgan --data "$mnist" --set loss=relativistic --set discriminator_norm=none \
    --set r1=0.5 --set r2=0.5 --set penalty_every=4 --kimg 50

# Runs that could have collapsed, and did not: ten times the rate.
run rate-x10 --recipe gan --data "$emoji" --set generator_rate=2e-3 --set discriminator_rate=2e-3 --kimg 50
run rate-x10-lsgan --recipe lsgan --data "$emoji" --set generator_rate=0.01 --set discriminator_rate=0.01 --kimg 50

# Healthy runs.
run dcgan --recipe dcgan --data "$cifar" --set by_class=false --kimg 50
run dcgan-class --recipe dcgan --data "$cifar" --kimg 50
run dcgan-mnist --recipe dcgan --data "$mnist" --kimg 50
run dcgan-stacked --recipe dcgan --data "$mnist" --set stacked=true --kimg 50
run dcgan-augmented --recipe dcgan --data "$emoji" --set 'augment=["color","translation","cutout"]' --kimg 50
run lsgan --recipe lsgan --data "$mnist" --set generator_rate=2e-4 --set discriminator_rate=2e-4 --kimg 50
run dragan --recipe dragan --data "$mnist" --kimg 50
run acgan --recipe acgan --data "$mnist" --kimg 50
run wgan --recipe wgan --data "$mnist" --kimg 50
run hinge-spectral --recipe dcgan --data "$mnist" --set loss=hinge --set discriminator_norm=spectral --kimg 50
