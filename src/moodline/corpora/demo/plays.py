"""The scenes that every session's cast plays in its own way: (role, emotion, words) a line."""

from collections.abc import Sequence
from typing import NamedTuple


class Line(NamedTuple):
    """What the script has a role say, and the emotion that it asks for."""

    role: str  # F or M
    emotion: str
    words: str  # a template, as in feelings.py: the cast's small changes of wording


SCENES: Sequence[tuple[str, Sequence[Line]]] = (
    (
        "script01_1",  # a brother and a sister clear out their parents' house
        (
            Line("M", "neu", "The van comes at {noon|two}. {What is left?|Is that all?}"),
            Line("F", "neu", "The lamps, {the mirror|the books}, and the piano."),
            Line("M", "neu", "About the piano. {There is something|I meant} to tell you."),
            Line("F", "sur", "What do you mean, {about|something about} the piano?"),
            Line("M", "neu", "A man came on {Monday|Friday}. He is taking it."),
            Line("F", "ang", "You sold it? {You sold Mother's piano?|Without asking me?}"),
            Line("M", "ang", "Somebody had to {do something|decide}! You were never here!"),
            Line("F", "ang", "I was working! I sent money, {every month|every single month}!"),
            Line("M", "sad", "I know. I know you did."),
            Line("F", "sad", "She taught me on it. {Every evening, after supper.|Both hands, every evening.}"),
            Line("F", "hap", "And then she paid me in chocolate, {a piece a scale|one piece for each song}!"),
            Line("M", "hap", "{Which is why|So that is why} you only ever played the short ones!"),
            Line("F", "sad", "Then why did you let it go?"),
            Line("M", "sad", "Because I can't walk past it any more."),
            Line("F", "neu", "{Give me his number|Have you got his number}, please."),
        ),
    ),
    (
        "script01_2",  # the same two, a week later
        (
            Line("F", "neu", "Mind the step. It is {heavy|heavier than it looks}."),
            Line("M", "neu", "What is under the {blanket|sheet}?"),
            Line("F", "hap", "Take it off. Go on."),
            Line("M", "sur", "That is not... Is that {ours|the one}?"),
            Line("F", "exc", "It is! He {gave it back|sold it back}! I {only had to|just had to} ask!"),
            Line("M", "exc", "You are {mad|crazy}! How did you get it up the stairs?"),
            Line("F", "hap", "Four students and {a case of beer|two large pizzas}."),
            Line("M", "ang", "And you {carried|lifted} too? With your back? Are you out of your mind?"),
            Line("F", "ang", "I am not {made of glass|eighty}! Do you want it or not?"),
            Line("M", "hap", "Her pencil marks are still on the keys. {Look.|Look at that.}"),
            Line("F", "sad", "She would have liked {this|that}."),
            Line("M", "sad", "Yes. She would."),
            Line("F", "hap", "Well, sit down. {You take|Play} the left hand."),
            Line("M", "hap", "I haven't played in {twenty|thirty} years."),
            Line("F", "exc", "I can hear that! {Again!|Once more!} From the top!"),
        ),
    ),
    (
        "script02_1",  # two nurses, four in the morning
        (
            Line("F", "neu", "Four o'clock. {Room six is asleep.|All quiet in room six.}"),
            Line("M", "neu", "There is coffee. It is {older than I am|from yesterday}."),
            Line("F", "hap", "You always know what to say to a woman."),
            Line("M", "hap", "Years of {practice|training}. Sugar?"),
            Line("F", "neu", "Did you look at the new list?"),
            Line("M", "neu", "It is on the board. I {saw|read} it."),
            Line("F", "ang", "They put me on every weekend until {June|August}. Every one!"),
            Line("M", "fru", "I {asked|told} them not to. Nobody listens to me {either|here}."),
            Line("F", "ang", "I have children! When am I supposed to see them?"),
            Line("M", "neu", "{Hold on|Wait}. That is the bell in nine."),
            Line("F", "sad", "Mister Abel. He {asked for his wife|called her name} again, all evening."),
            Line("M", "sad", "She has been dead for {ten|eleven} years."),
            Line("F", "sad", "I told him she was {on her way|parking the car}. What else could I say?"),
            Line("M", "sad", "Nothing. I would have {said the same|done that too}."),
        ),
    ),
    (
        "script02_2",  # the same two, at seven
        (
            Line("M", "neu", "Seven o'clock. {Go home.|You can go now.}"),
            Line("F", "neu", "In a minute. I {have to|must} finish this page."),
            Line("M", "sad", "Mister Abel {died|went} at {five|half past five}. I held his hand."),
            Line("F", "sad", "He {told me about|wanted to see} the roses. I never went to look."),
            Line("M", "hap", "Somebody is {here for you|asking for you} downstairs."),
            Line("F", "ang", "If it is the office again, tell them I am {gone|on the moon}! I have had it!"),
            Line("M", "hap", "It is not the office. {Look out of the window.|Come and see.}"),
            Line("F", "sur", "Who are all those people?"),
            Line("M", "exc", "It is your birthday! {They brought a band!|There is a trumpet!}"),
            Line("F", "exc", "You {told them|did this}? I am going to {kill|hug} you!"),
            Line("M", "hap", "And the list {is changed|has been changed}. No more weekends."),
            Line("F", "exc", "You are joking! Say that again!"),
            Line("M", "hap", "No more weekends. I {talked to|shouted at} them."),
            Line("F", "hap", "You. You shouted at {somebody|the office}."),
            Line("M", "neu", "I {raised|may have raised} my voice a little."),
        ),
    ),
    (
        "script03_1",  # a couple; he has taken a post on an island
        (
            Line("M", "hap", "Good morning! I made pancakes. {Don't look at the stove.|Sit down, sit down.}"),
            Line("F", "hap", "Pancakes, on a {Tuesday|Wednesday}! {Who are you?|What have you done?}"),
            Line("F", "neu", "There is a letter for you. {From the coast guard.|It looks official.}"),
            Line("M", "neu", "Yes. I have been {waiting for it|expecting that}."),
            Line("F", "neu", "And what does it say?"),
            Line("M", "hap", "I got it. The lighthouse. {I start in March.|From March on.}"),
            Line("F", "ang", "The lighthouse. You {applied|wrote to them}, and you never told me?"),
            Line("M", "fru", "I {tried to|wanted to}. There was never a good moment."),
            Line("F", "ang", "Two years on a rock! And what about {me|us}? Did you think about {me|us}?"),
            Line("M", "ang", "I think of nothing else! I can't {breathe|live} in this town!"),
            Line("F", "ang", "Then go! Go and {talk to|marry} your seagulls!"),
            Line("M", "sad", "I thought you {might|would} come with me."),
            Line("F", "sad", "You never asked me. {Not once.|You never did.}"),
            Line("M", "sad", "I was afraid {of the answer|you would say no}."),
            Line("F", "sad", "So was I."),
        ),
    ),
    (
        "script03_2",  # the same couple, a year later, on the island
        (
            Line("M", "sur", "You are here. {You are really here.|How did you get here?}"),
            Line("F", "hap", "The {fishing|mail} boat. I was sick the whole way."),
            Line("M", "exc", "Come in! Come in! I have {soup|tea}! I have four hundred cans of it!"),
            Line("F", "hap", "You have a beard. It {suits|ages} you."),
            Line("M", "neu", "The {barber|nearest barber} is eleven miles away."),
            Line("F", "neu", "How many steps are there, to the top?"),
            Line("M", "neu", "A hundred and {twelve|sixty}. I {count|counted} them every night."),
            Line("F", "sad", "I read your letters. {All of them.|Every one.}"),
            Line("M", "sad", "You never wrote back. I {thought|was sure} it was over."),
            Line("M", "ang", "A whole year! Not one word, for a whole year!"),
            Line("F", "ang", "You were the one who left! {You left!|With two bags and a radio!}"),
            Line("M", "neu", "And now? Why {did you come|are you here}?"),
            Line("F", "exc", "I brought two suitcases! I am staying!"),
            Line("M", "exc", "You are staying! {She is staying!|Did you hear that, seagulls?}"),
            Line("F", "hap", "You are shouting at the birds, my love."),
        ),
    ),
)
