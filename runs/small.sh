#!/usr/bin/env bash
# The whole method on one page: real dialogues and voices in IEMOCAP's format, the five parts, honest scores.
# Two cores, within an hour, under 8 GiB. MOODLINE_SHARED names the folder that holds corpora/.
set -euo pipefail
cd "$(dirname "$0")/.."
shared=${MOODLINE_SHARED:-../shared}
out=${1:-runs/small}
PATH=$PWD/.venv/bin:$PATH

# 1. The corpus: a tree in IEMOCAP's format, and one table of it.
[ -d "$out/tree" ] || python "$shared/corpora/compose_iemocap_tree.py" "$out/tree"
moodline prepare iemocap "$out/tree" -o "$out/corpus"
moodline inspect "$out/corpus"

# 2. Speech and words by the utterance, each in its context, both together: stage by stage, on Sessions 2 to 4.
moodline train "$out/corpus" --recipe recipes/small.yaml --protocol session5 -o "$out/run"

# 3. Scores on Session 5, which nothing has trained or selected on, and the report.
moodline evaluate "$out/run"

# 4. A conversation of Session 5, labelled.
moodline predict "$out/corpus" --model "$out/run/fold-5/model" --conversation Ses05F_impro01
