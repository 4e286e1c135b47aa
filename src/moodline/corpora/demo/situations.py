"""What improvised conversations are about."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Situation:
    """A situation, and words that belong to it: its opening, its facts (they fit any mood) and what a mood says of it.

    ``moods`` says how strongly the situation draws people into each mood.
    """

    opening: Sequence[str]
    facts: Sequence[str]
    moods: Mapping[str, float]
    words: Mapping[str, Sequence[str]]


SITUATIONS: Sequence[Situation] = (
    Situation(  # the missed train
        opening=("The train {has left|is gone}, {two|three} minutes ago.", "That was our train, wasn't it?"),
        facts=(
            "The next one goes at {hour}.",
            "{friend} is waiting at the other end.",
            "You had both tickets.",
            "We have been on this platform {for an hour|since noon}.",
        ),
        moods={"ang": 3, "neu": 2, "hap": 1, "sad": 1},
        words={
            "ang": (
                "You and your {hair|second cup of coffee}! We are late because of you!",
                "I told you to hurry! Why don't you ever listen?",
            ),
            "hap": (
                "Who cares about the train? We have sunshine and {sandwiches|chocolate}!",
                "Look, it is {friend}, with the car! We are saved!",
            ),
            "sad": (
                "Now I won't see her before the operation. I feel awful.",
                "It was the last train. I so wanted to say goodbye.",
            ),
            "neu": ("There is a bus from the square at {hour}.", "The ticket is also valid on the later train."),
        },
    ),
    Situation(  # moving away
        opening=("The boxes are {packed|all in the van}.", "{friend} is moving to {Canada|Norway} on {day}."),
        facts=(
            "It is {twelve|nine} hours by plane.",
            "The key is under the mat.",
            "We lived here for {ten|seven} years.",
            "The new people come on {day}.",
        ),
        moods={"sad": 3, "hap": 1.5, "neu": 2, "ang": 1},
        words={
            "ang": (
                "You sold the piano without asking me? How dare you!",
                "The movers broke everything, and they don't even care!",
            ),
            "hap": (
                "A garden of our own at last! I am so excited!",
                "You can see the sea from the kitchen! I love it!",
            ),
            "sad": (
                "The children grew up in this room. I will miss it so much.",
                "I stood in the empty kitchen and cried.",
            ),
            "neu": ("The van holds about forty boxes.", "We need to read the meters before {hour}."),
        },
    ),
    Situation(  # the exam
        opening=("The results are {out|on the board}.", "So, did you get your result?"),
        facts=(
            "There were {forty|sixty} people in that room.",
            "{friend} took it on {day} too.",
            "I looked at it twice.",
            "It says so right here, under my name.",
        ),
        moods={"hap": 3, "sad": 2.5, "neu": 1, "ang": 1},
        words={
            "ang": (
                "They lost a whole page of mine! How can they be so careless?",
                "He copied from me, and he got the better mark! That is unfair!",
            ),
            "hap": ("I passed! I actually passed! We have to celebrate!", "Top of the class! I am so proud of you!"),
            "sad": ("I failed again. I let everybody down.", "All those nights of work, and it was not good enough."),
            "neu": ("You can look at the paper in the office until {day}.", "The second part is in spring, as usual."),
        },
    ),
    Situation(  # the lost dog
        opening=("The garden gate {is|was} open.", "Have you seen the dog since lunch?"),
        facts=(
            "{friend} saw him near the river.",
            "He has been gone since {day}.",
            "There was a call from the shelter.",
            "His lead is still on the hook.",
        ),
        moods={"sad": 3, "hap": 2, "ang": 1.5, "neu": 1},
        words={
            "ang": (
                "Who left the gate open? I have told you a hundred times!",
                "You were on your phone the whole time! This is your fault!",
            ),
            "hap": (
                "There he is! Look at that tail! I am so happy!",
                "He came home by himself, muddy and laughing! What a wonderful dog!",
            ),
            "sad": ("His basket is empty. I miss him so much.", "He was so old. I wish I had been there."),
            "neu": ("I will put a note in the {bakery|library}.", "He has a chip, so the vet can read the number."),
        },
    ),
    Situation(  # the surprise party
        opening=("Close the door and turn {on the light|around}.", "It is your birthday on {day}, isn't it?"),
        facts=(
            "{friend} made the cake.",
            "There are {twenty|thirty} people in the kitchen.",
            "We had to keep it quiet.",
            "Everybody has known since {day}.",
        ),
        moods={"hap": 4, "neu": 1, "sad": 1, "ang": 1},
        words={
            "ang": (
                "I said no party! You never respect what I want!",
                "You invited my boss? Are you out of your mind?",
            ),
            "hap": ("You remembered! And balloons! I love you all!", "This is the best birthday of my life!"),
            "sad": ("It is the first birthday without Dad. I miss him.", "Hardly anyone came. I feel so lonely."),
            "neu": ("The plates are in the cupboard on the left.", "We need about ten more chairs."),
        },
    ),
    Situation(  # the repair bill
        opening=("The garage {sent the bill|called again}.", "The car is ready. Here is the bill."),
        facts=(
            "It says nine hundred here.",
            "{friend} had the same thing done.",
            "The car is {twelve|fifteen} years old.",
            "They kept it until {day}.",
        ),
        moods={"ang": 4, "neu": 2, "hap": 1, "sad": 1},
        words={
            "ang": (
                "Nine hundred for a mirror? They are thieves!",
                "They charged us twice! I want my money back, now!",
            ),
            "hap": ("It was only a loose screw! And it was free!", "She runs like new! I could kiss that mechanic!"),
            "sad": ("It was Grandpa's car, and now it is gone.", "That was all our savings. It is hopeless."),
            "neu": ("They changed the oil and two of the tyres.", "You can pay by card or within thirty days."),
        },
    ),
    Situation(  # the job offer
        opening=("They called about the job.", "There is an email from the {museum|hospital}."),
        facts=(
            "It starts in {May|September}.",
            "They asked {eleven|thirty} people.",
            "The office is across the river.",
            "I have to answer by {day}.",
        ),
        moods={"hap": 3, "sad": 1.5, "ang": 1.5, "neu": 2},
        words={
            "ang": (
                "They gave it to his nephew! That is so unfair!",
                "Ten years of work, and they don't even say thanks!",
            ),
            "hap": (
                "I got the job! I start in spring! I am so happy!",
                "My own desk, with a window! This is fantastic!",
            ),
            "sad": ("They don't want me. Nobody wants me at my age.", "I had hoped so much, and it was a no again."),
            "neu": ("It is thirty-five hours a week, with {friend}'s team.", "They would like a copy of the form."),
        },
    ),
    Situation(  # at the hospital
        opening=("The doctor {has just left|came by this morning}.", "I was at the hospital on {day}."),
        facts=(
            "She is in room twelve, by the window.",
            "He asked for {friend}.",
            "They did the test again.",
            "Visits are until {hour}.",
        ),
        moods={"sad": 3.5, "hap": 1.5, "neu": 2, "ang": 1},
        words={
            "ang": (
                "Five hours in a corridor! Nobody even looked at her! It is a disgrace!",
                "Why did nobody call me? I am family, for goodness' sake!",
            ),
            "hap": (
                "She is going to be fine! She is already bossing the nurses around!",
                "It is a girl! I am so happy I could sing!",
            ),
            "sad": ("She did not know who I was. It broke my heart.", "There is nothing they can do. I feel so empty."),
            "neu": (
                "The ward is on the third floor, left of the lift.",
                "She takes one in the morning and one at night.",
            ),
        },
    ),
    Situation(  # the neighbours
        opening=("{friend} next door {was here|rang the bell}.", "Did you hear that, through the wall?"),
        facts=(
            "It was {two|three} in the morning.",
            "They have lived there since spring.",
            "It comes from upstairs.",
            "It has been like that since {day}.",
        ),
        moods={"ang": 3.5, "neu": 2, "hap": 1.5, "sad": 1},
        words={
            "ang": (
                "Drums! At three in the morning! I have had enough!",
                "They park in our place every day! How dare they?",
            ),
            "hap": (
                "They brought us a pie to say sorry! I love these people!",
                "They invited us to their wedding! How wonderful!",
            ),
            "sad": (
                "The old lady next door died, and nobody noticed.",
                "I hear them laughing, and I feel so lonely.",
            ),
            "neu": ("The bins go out on {day} evening.", "The house rules say quiet after ten."),
        },
    ),
    Situation(  # the holiday
        opening=("There is news about the {flight|hotel}.", "Ten days until the holiday."),
        facts=(
            "The flight is on {day} now.",
            "{friend} has been there before.",
            "The suitcases are in the hall.",
            "It is on the board over there.",
        ),
        moods={"hap": 3, "ang": 2, "sad": 1, "neu": 2},
        words={
            "ang": (
                "They cancelled it, and they keep our money! It is an outrage!",
                "You forgot the passports? I don't believe this! You had one thing to do!",
            ),
            "hap": (
                "They gave us the room with the balcony! It is fantastic!",
                "Two weeks of sun and swimming! I am so excited!",
            ),
            "sad": (
                "We were always there with Mum. I miss her so much.",
                "Now the children won't see the sea. I am so sorry.",
            ),
            "neu": ("Breakfast is from seven to {hour}.", "One case each, twenty kilos at most."),
        },
    ),
    Situation(  # the wedding
        opening=("The invitation {came today|is on the table}.", "{friend} is getting married on {day}."),
        facts=(
            "It is in the small church by the lake.",
            "They met on {a bus|a train}.",
            "We sit at table four.",
            "They wrote it by hand.",
        ),
        moods={"hap": 3, "sad": 2, "ang": 1.5, "neu": 1.5},
        words={
            "ang": ("My own sister, and I am not invited! How dare she!", "You told her about the ring? You promised!"),
            "hap": (
                "They are so in love, it is wonderful! I can't wait to dance!",
                "They want me to give the speech! I am so proud!",
            ),
            "sad": (
                "It should have been me. I still love him, and it hurts.",
                "If only Grandma could be there. I miss her.",
            ),
            "neu": ("We can share a taxi to the station.", "They would like an answer by {day}, for the tables."),
        },
    ),
    Situation(  # the school play
        opening=("They put the {list|cast} on the door.", "The play is on {day}, isn't it?"),
        facts=(
            "{friend} wrote the music.",
            "There are {eighty|ninety} seats.",
            "I was behind the curtain.",
            "They say it every year.",
        ),
        moods={"hap": 3, "sad": 1.5, "ang": 2, "neu": 1.5},
        words={
            "ang": (
                "I learned every line, and they gave it to her! It is so unfair!",
                "Somebody cut up my costume! Who did that?",
            ),
            "hap": ("They clapped for ten minutes! It was fantastic!", "I am the dragon! I am so excited!"),
            "sad": (
                "I forgot my line, and they all laughed. I just wanted to cry.",
                "It was our last play together. It is over.",
            ),
            "neu": ("The costumes go back in the blue box.", "We start at {hour}, with one break."),
        },
    ),
    Situation(  # the burnt dinner
        opening=("The guests are here {at|around} {hour}.", "Something is {different about|in} the kitchen."),
        facts=(
            "It was in the oven for {two|three} hours.",
            "{friend} gave me the recipe.",
            "The window is open.",
            "It was all on the table.",
        ),
        moods={"hap": 2.5, "ang": 2.5, "sad": 1, "neu": 2},
        words={
            "ang": (
                "You had one thing to watch! It is ruined, and it is your fault!",
                "The cat ate the fish, and you just stood there?",
            ),
            "hap": (
                "Black as coal! I can't stop laughing! Pizza for everyone!",
                "They asked for seconds! It was fantastic!",
            ),
            "sad": (
                "It was Mum's recipe, the last one she wrote. I am so sorry.",
                "Nobody came, and I sat there alone. I feel awful.",
            ),
            "neu": ("The potatoes need about ten more minutes.", "Two spoons of salt, then let it rest."),
        },
    ),
    Situation(  # the old house
        opening=("They sold the {old house|farm}.", "I drove past the old house on {day}."),
        facts=(
            "{friend} signed for it.",
            "The apple tree is still there.",
            "They painted the door {blue|green}.",
            "It was on the market since spring.",
        ),
        moods={"sad": 3, "ang": 1.5, "hap": 1.5, "neu": 2},
        words={
            "ang": ("My brother sold it behind my back! I am furious!", "They cut down her roses! How dare they!"),
            "hap": (
                "Children are playing in the garden again! It is lovely!",
                "We got more than we asked for! We have to celebrate!",
            ),
            "sad": (
                "Her coat was still on the hook. I sat down and cried.",
                "There is nothing to go back to. I feel so empty.",
            ),
            "neu": ("The papers are with the bank until {day}.", "It has five rooms and a small cellar."),
        },
    ),
    Situation(  # the raffle
        opening=("They drew the numbers {tonight|on {day}}.", "You still have that ticket, don't you?"),
        facts=(
            "The number was {forty-two|seventeen}.",
            "{friend} bought one too.",
            "It was in my coat.",
            "There was a man from the newspaper.",
        ),
        moods={"hap": 3.5, "ang": 2, "sad": 1, "neu": 1.5},
        words={
            "ang": (
                "You threw it away? You threw away my ticket? I am furious!",
                "The mayor's wife won again! They are cheating!",
            ),
            "hap": ("We won! We won a goose! I can't stop laughing!", "First prize! I am so lucky, I could dance!"),
            "sad": ("I wanted to win it for her. Now it is too late.", "One number off. I had hoped so much."),
            "neu": ("The prizes are at the town hall until {day}.", "A ticket is two, and three are five."),
        },
    ),
    Situation(  # the broken promise of a visit
        opening=("{friend} is not coming on {day}.", "There is a message from {friend}."),
        facts=("It is the {second|third} time.", "I left the light on.", "The bed is made.", "It came at {hour}."),
        moods={"sad": 2.5, "ang": 2.5, "neu": 1.5, "hap": 1.5},
        words={
            "ang": (
                "Always work, work, work! I am sick of these excuses!",
                "A text message! Not even a call! How dare they!",
            ),
            "hap": (
                "They were at the door all along! What a lovely surprise!",
                "They are staying for a month instead! I am so happy!",
            ),
            "sad": ("I baked all day. Nobody needs me any more.", "The children will cry. I miss them so much."),
            "neu": ("Then the room is free for {friend}.", "We can move it to the week after."),
        },
    ),
)
