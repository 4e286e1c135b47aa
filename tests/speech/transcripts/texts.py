"""Files as people's tools write them."""

from pathlib import Path

from moodline.transcripts.formats import read_transcript
from moodline.transcripts.transcript import Transcript

SRT = """1
00:00:01,000 --> 00:00:02,500
<i>Where were you?</i>

2
00:00:02,750 --> 00:00:04,000
{\\an8}I was
at the station.

3
01:00:04,000 --> 01:00:05,250 X1:40 X2:600 Y1:20 Y2:50
♪ La la la ♪
"""

VTT = """WEBVTT - An interview
Kind: captions
Language: en

STYLE
::cue { color: white }

NOTE Written by hand.
Twice.

intro
00:01.000 --> 00:02.500 align:start position:10%
<v Ann Lee>Fish &amp; <c.loud>chips</c></v>

00:00:02.750 --> 00:00:04.000
<v.quiet Bob>I was <00:00:03.000>at the station.

NOTE between

00:00:05.000 --> 00:00:06.000
<v Ann Lee>Oh.</v>
<v Bob>Ah.</v>
"""

TEXTGRID = """File type = "ooTextFile"
Object class = "TextGrid"

xmin = 0
xmax = 6.5
tiers? <exists>
size = 3
item []:
    item [1]:
        class = "IntervalTier"
        name = "Ann"
        xmin = 0
        xmax = 6.5
        intervals: size = 3
        intervals [1]:
            xmin = 0
            xmax = 1.25
            text = ""
        intervals [2]:
            xmin = 1.25
            xmax = 2.5
            text = "She said ""no"".
Twice."
        intervals [3]:
            xmin = 2.5
            xmax = 6.5
            text = "item [2]: 7 "
    item [2]:
        class = "TextTier"
        name = "bells"
        xmin = 0
        xmax = 6.5
        points: size = 1
        points [1]:
            number = 3
            mark = "ding"
    item [3]:
        class = "IntervalTier"
        name = "Bob"
        xmin = 0
        xmax = 6.5
        intervals: size = 1
        intervals [1]:
            xmin = 2
            xmax = 3
            text = "Never."
"""

SHORT_TEXTGRID = """File type = "ooTextFile"
Object class = "TextGrid"

0
2
<exists>
1
"IntervalTier"
"utterances"
0
2
2
0
0.5
""
0.5
2
"Hello there."
"""

WHISPER = """{"text": " Where were you? At the station.", "segments": [
{"id": 0, "seek": 0, "start": 0.0, "end": 1.5, "text": " Where were you?", "tokens": [50364], "temperature": 0.0,
 "avg_logprob": -0.3, "compression_ratio": 0.9, "no_speech_prob": 0.01},
{"id": 1, "seek": 0, "start": 1.5, "end": 3.0, "text": " At the station.", "tokens": [50439], "temperature": 0.0,
 "avg_logprob": -0.3, "compression_ratio": 0.9, "no_speech_prob": 0.01}], "language": "en"}
"""

WHISPERX = """{"segments": [
{"start": 0.031, "end": 1.5, "text": " Where were you?", "speaker": "SPEAKER_00", "words": [
 {"word": "Where", "start": 0.031, "end": 0.4, "score": 0.9, "speaker": "SPEAKER_00"}, {"word": "were"}]},
{"start": 1.25, "end": 3.0, "text": "At the station.", "words": [
 {"word": "At", "start": 1.25, "end": 1.4, "score": 0.8, "speaker": "SPEAKER_01"}]},
{"start": 3.5, "end": 4.0, "text": "Oh.", "words": [{"word": "Oh.", "start": 3.5, "end": 4.0, "score": 0.2}]}],
"word_segments": [], "language": "de"}
"""

WHISPER_CPP = """{"systeminfo": "AVX = 1", "model": {"type": "base"}, "params": {"language": "auto"},
"result": {"language": "fr"}, "transcription": [
{"timestamps": {"from": "00:00:00,000", "to": "00:00:01,500"}, "offsets": {"from": 0, "to": 1500},
 "text": " Bonjour."}]}
"""

RTTM = """;; made by a diarisation
SPKR-INFO talk 1 <NA> <NA> <NA> unknown ann <NA> <NA>
SPEAKER talk 1 0.10 0.20 <NA> <NA> ann <NA> <NA>
SPEAKER talk 1 0.25 1.000 <NA> <NA> bob <NA>
"""

CSV = """Start Time;End Time;Speaker;Transcript
0:00:01.5;0:00:02,75;Ann;"Well; yes"
00:01:00;01:01.25;;No.
"""

JSON_LINES = """{"start": 0.5, "end": 1, "speaker": "Ann", "text": "Yes."}

{"start": "0:02", "end": "0:03.5", "speaker": 7, "text": "No."}
"""

STM = """;; CATEGORY "0" "" ""
talk 1 ann 0.10 1.30 <o,f0,female> where were you
talk 1 inter_segment_gap 1.30 1.50 ignore_time_segment_in_scoring
talk 1 7 1.50 2.25 <o,f0,male> at the station
"""

CTM = """;; words
talk A 0.10 0.20 Where 0.98
talk A 0.35 0.20 were 0.91
talk A 0.60 0.30 you? 0.99
talk A 0.95 0.30 Well 0.99
talk A 3.00 0.20 7 0.50
"""

SEGMENTS = """ann-1 talk 0.10 1.30
bob-1 talk 1.50 2.25
"""

LABELS = """0.100000\t1.300000\tAnn: Where were you?
\\\t100.0\t4000.0
1.500000\t2.250000\tBob: At the station.
3.000000\t3.500000\tAnn: Oh.
4.000000\t4.500000\tBob: Yes.
"""

ELAN = """<?xml version="1.0" encoding="UTF-8"?>
<ANNOTATION_DOCUMENT AUTHOR="" DATE="2026-01-01T00:00:00+00:00" FORMAT="3.0" VERSION="3.0">
<HEADER MEDIA_FILE="" TIME_UNITS="milliseconds"/>
<TIME_ORDER>
<TIME_SLOT TIME_SLOT_ID="ts1" TIME_VALUE="100"/>
<TIME_SLOT TIME_SLOT_ID="ts2"/>
<TIME_SLOT TIME_SLOT_ID="ts3" TIME_VALUE="1300"/>
<TIME_SLOT TIME_SLOT_ID="ts4" TIME_VALUE="2250"/>
</TIME_ORDER>
<TIER TIER_ID="A_Transcription" PARTICIPANT="Ann" LINGUISTIC_TYPE_REF="default">
<ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="a1" TIME_SLOT_REF1="ts1" TIME_SLOT_REF2="ts2">
<ANNOTATION_VALUE>Where &amp; when?</ANNOTATION_VALUE></ALIGNABLE_ANNOTATION></ANNOTATION>
<ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="a2" TIME_SLOT_REF1="ts2" TIME_SLOT_REF2="ts3">
<ANNOTATION_VALUE/></ALIGNABLE_ANNOTATION></ANNOTATION>
</TIER>
<TIER TIER_ID="Bob" LINGUISTIC_TYPE_REF="default">
<ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="a3" TIME_SLOT_REF1="ts3" TIME_SLOT_REF2="ts4">
<ANNOTATION_VALUE>At the station.</ANNOTATION_VALUE></ALIGNABLE_ANNOTATION></ANNOTATION>
</TIER>
<TIER TIER_ID="Bob-en" PARENT_REF="Bob" LINGUISTIC_TYPE_REF="translation">
<ANNOTATION><REF_ANNOTATION ANNOTATION_ID="a4" ANNOTATION_REF="a3">
<ANNOTATION_VALUE>In the station.</ANNOTATION_VALUE></REF_ANNOTATION></ANNOTATION>
</TIER>
</ANNOTATION_DOCUMENT>
"""

MEETING = """Weekly call
3 March, 10:30

Ann Lee   0:03
Where were you?
I waited until 10:30

bob  0:07
At the station.

Ann Lee   1:00:09
Oh.
"""

ALL = {
    "SRT": SRT,
    "WebVTT": VTT,
    "TextGrid": TEXTGRID,
    "JSON of Whisper": WHISPER,
    "JSON of WhisperX": WHISPERX,
    "JSON of whisper.cpp": WHISPER_CPP,
    "ELAN": ELAN,
    "RTTM": RTTM,
    "STM": STM,
    "CTM": CTM,
    "Kaldi's segments": SEGMENTS,
    "label track of Audacity": LABELS,
    "meeting transcript": MEETING,
    "CSV": CSV,
    "JSON lines": JSON_LINES,
}

Seen = list[tuple[float, float, str, str | None]]


def read(folder: Path, text: str | bytes, name: str = "talk.txt") -> Transcript:
    """What is read of a file of some text in UTF-8, or of some bytes."""
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_transcript(path)


def seen(transcript: Transcript) -> Seen:
    return [(turn.start, turn.end, turn.speaker, turn.words) for turn in transcript.turns]
