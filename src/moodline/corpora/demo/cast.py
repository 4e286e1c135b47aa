"""Who speaks: the ten people of the demo corpus."""

from collections.abc import Mapping

from moodline.corpora.demo.voice import Speaker

# One woman and one man a session. They differ in accent, pitch, size, pace and level, more than moods do.
CASTS: tuple[Mapping[str, Speaker], ...] = (
    {
        "F": Speaker(name="alma", language="en-us", pitch=(168, 240), formants=112, rate=168, level=0),
        "M": Speaker(name="bill", language="en-gb", pitch=(80, 116), formants=99, rate=160, level=2),
    },
    {
        "F": Speaker(name="cora", language="en-gb-scotland", pitch=(140, 204), formants=116, rate=175, level=-2),
        "M": Speaker(name="dean", language="en-us", pitch=(112, 164), formants=104, rate=178, level=0),
    },
    {
        "F": Speaker(name="edna", language="en-gb-x-rp", pitch=(200, 286), formants=120, rate=158, level=2),
        "M": Speaker(name="finn", language="en-gb-scotland", pitch=(92, 136), formants=93, rate=170, level=-3),
    },
    {
        "F": Speaker(name="gail", language="en-us-nyc", pitch=(156, 230), formants=104, rate=182, level=1),
        "M": Speaker(name="hugo", language="en-029", pitch=(72, 106), formants=88, rate=155, level=-1),
    },
    {
        "F": Speaker(name="inez", language="en-029", pitch=(182, 262), formants=108, rate=172, level=-2),
        "M": Speaker(name="jack", language="en-gb-x-rp", pitch=(101, 147), formants=97, rate=164, level=1),
    },
)
