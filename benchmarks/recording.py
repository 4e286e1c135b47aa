"""Measure the speed from audio to timeline: a conversation of ten minutes and 200 turns with its transcript.

    .venv/bin/python benchmarks/recording.py
    .venv/bin/python benchmarks/recording.py --encoders bert-base --threads 2
    .venv/bin/python benchmarks/recording.py --encoders wavlm-roberta --repeats 1

Audio is noise, words and weights are random; none of them affects the duration. The same run measures the forward
passes of the utterance encoders over the same turns and, for comparison, wav2vec2-base's. With wavlm-roberta, they are
those of transformers alone: WavLM-base on each turn, RoBERTa-base on batches of similar length.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import numpy as np
import soundfile
import torch
from transformers import Wav2Vec2Config, Wav2Vec2Model
from untrained import Encoders, untrained

from moodline.audio.recording import Recording
from moodline.config import AUDIO_UTTERANCE, TEXT_UTTERANCE
from moodline.conversation import AudioClip, Segment, Utterance
from moodline.inference.encode import ENCODER_BATCH, UtteranceEncoder, list_turns
from moodline.inference.predictor import Predictor
from moodline.inference.recordings import RecognitionOptions, recognise
from moodline.modeling.batching import build_length_mask, pad_sequences
from moodline.modeling.pretrained_audio import PretrainedAudio
from moodline.transcripts.formats import read_transcript, write_transcript

RATE = 16_000
SECONDS, TURNS, WORDS = 600.0, 200, 8
VOCABULARY = ("well", "I", "never", "said", "that", "we", "would", "go", "there", "again", "today", "please", "really")
WAV2VEC_BATCH = 8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--encoders", choices=get_args(Encoders), default="wheel", help="LEAF with six layers of BERT")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3, help="repetitions, of which the fastest counts")
    parser.add_argument("-o", "--output", type=Path, help="JSON file of all results")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    predictor = Predictor(untrained(options.encoders))
    with tempfile.TemporaryDirectory() as folder:
        sound, transcript = write_recording(Path(folder))
        seconds = measure_seconds(predictor, sound, transcript, options.repeats)
    parts = seconds["speech encoder, forward"] + seconds["text encoder, forward"]
    for name, value in seconds.items():
        print(f"{name:32s}{value:8.2f} s{SECONDS / value:10.0f} times real time")
    print(f"whole over the forward passes: {seconds['audio to timeline'] / parts:.2f}")
    if options.output:
        options.output.write_text(
            json.dumps({"encoders": options.encoders, "threads": options.threads, **seconds}, indent=2)
        )


def write_recording(folder: Path) -> tuple[Path, Path]:
    """Write a recording, and its transcript of consecutive turns of 1 to 5 seconds."""
    generator = np.random.default_rng(0)
    sound, transcript = folder / "talk.wav", folder / "talk.srt"
    soundfile.write(sound, generator.uniform(-0.1, 0.1, round(SECONDS * RATE)), RATE, subtype="PCM_16")
    lengths = generator.uniform(1, 5, TURNS)
    ends = np.cumsum(lengths * SECONDS / lengths.sum()).round(3)
    starts = [0.0, *ends[:-1]]
    said = [" ".join(generator.choice(VOCABULARY, WORDS)) for _ in range(TURNS)]
    turns = [Segment(start=float(a), end=float(b), words=w) for a, b, w in zip(starts, ends, said, strict=True)]
    write_transcript(transcript, turns)
    return sound, transcript


def measure_seconds(predictor: Predictor, sound: Path, transcript: Path, repeats: int) -> dict[str, float]:
    """Measure seconds of the whole, of its encoders' forward passes alone, and of wav2vec2."""
    turns = read_transcript(transcript).turns
    recording = Recording.open(sound)
    utterances = []
    for number, one in enumerate(turns):
        clip = AudioClip(path=sound, offset=one.start, duration=one.end - one.start, sample_rate=RATE)
        utterances.append(Utterance(id=str(number), speaker=one.speaker, words=one.words or "", audio=clip))
    waveforms = [torch.from_numpy(recording.clip(one.start, one.end, RATE)) for one in turns]
    heard = dict(zip((one.id for one in utterances), waveforms, strict=True))

    def encoder(stage: str) -> Callable[[], Any]:
        part, recipe = predictor.model.network.parts[stage], predictor.model.recipe
        read = UtteranceEncoder(stage, part, recipe, predictor.model.tokenizer, lambda turn, rate: heard[turn.id])
        return lambda: read.encode(list_turns(utterances, recipe))

    parts, tokenizer = predictor.model.network.parts, predictor.model.tokenizer
    is_pretrained = isinstance(parts[AUDIO_UTTERANCE], PretrainedAudio)

    @torch.inference_mode()
    def speech() -> None:
        for waveform in waveforms:
            parts[AUDIO_UTTERANCE].backbone(waveform[None])

    @torch.inference_mode()
    def words() -> None:
        ids = sorted(tokenizer([one.words for one in utterances]), key=len)
        for first in range(0, len(ids), ENCODER_BATCH):
            tokens, lengths = pad_sequences(ids[first : first + ENCODER_BATCH])
            parts[TEXT_UTTERANCE].bert(tokens, attention_mask=build_length_mask(lengths, tokens.shape[1]).long())

    peer = Wav2Vec2Model(Wav2Vec2Config()).eval()

    @torch.inference_mode()
    def wav2vec() -> None:
        ordered = sorted(waveforms, key=len)
        for first in range(0, len(ordered), WAV2VEC_BATCH):
            peer(pad_sequences(ordered[first : first + WAV2VEC_BATCH])[0])

    def read_turns() -> None:
        again = Recording.open(sound)
        for turn in read_transcript(transcript).turns:
            again.clip(turn.start, turn.end, RATE)

    how = RecognitionOptions(transcript=transcript)
    works = {
        "audio to timeline": lambda: recognise(predictor, Recording.open(sound), how),
        "reading turns": read_turns,
        "speech encoder, forward": speech if is_pretrained else encoder(AUDIO_UTTERANCE),
        "text encoder, forward": words if is_pretrained else encoder(TEXT_UTTERANCE),
        "wav2vec2-base, forward": wav2vec,
    }
    return {
        name: min(time_call(work) for _ in range(repeats if work is not wav2vec else 1)) for name, work in works.items()
    }


def time_call(work: Callable[[], Any]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
