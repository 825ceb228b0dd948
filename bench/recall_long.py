"""Facts for long conversations that run over months: what people tell each other, and what a user tells an assistant.

KNOWN and LATER were written on the same day. Changes of the library were made with KNOWN in view only.

A fact is what was said before it (or None), the statements that tell it, each said in a session of its own, and the
question at the end. {me} makes the statements and talks with {you}. The words of the question differ from those of the
statements as they do when people ask: by form, by synonym, or by nothing but a name.
"""

from typing import NamedTuple


class Fact(NamedTuple):
    """Statements and a question about them."""

    before: str | None
    said: tuple[str, ...]
    question: str


#: Two people: what one of them tells.
KNOWN_PEOPLE = (
    Fact(
        None,
        ("Guess who passed the bar exam yesterday! Eleven hours of waiting for that email.",),
        "When did {me} pass the bar exam?",
    ),
    Fact(
        "What happened to your hand?",
        ("Slammed it in the garage door on Monday, two fingers are in a splint.",),
        "How did {me} hurt those fingers?",
    ),
    Fact(None, ("We finally closed on the cottage near the lake, keys next Friday!",), "What property did {me} buy?"),
    Fact(
        "So how was the retreat?",
        ("Five days without a phone. I cried on day two and slept like a baby on day four.",),
        "How long was the retreat that {me} went to?",
    ),
    Fact(
        None,
        ("My grandmother left me her sewing machine, so I have been hemming curtains all week.",),
        "What did {me} inherit from the grandmother?",
    ),
    Fact(
        None,
        ("Got a ticket for the Ghibli exhibition in Rotterdam, going with my cousin Bea.",),
        "Who is going with {me} to the exhibition?",
    ),
    Fact(
        "Any progress with the band?",
        ("We have a name now: The Paper Lanterns. First gig is at Moe's on the 12th.",),
        "What is the name of {me}'s band?",
    ),
    Fact(
        None,
        ("I signed up to foster kittens, three of them arrive on Sunday.",),
        "How many kittens will {me} be fostering?",
    ),
    Fact(
        "Did you talk to your manager?",
        ("Yes, and I am moving to the Lyon office from January, same pay.",),
        "Which city is {me} being transferred to for work?",
    ),
    Fact(
        None,
        ("I have started seeing a therapist on Wednesdays. It helps more than I expected.",),
        "What does {me} do for mental health?",
    ),
    Fact(
        None,
        ("Our little one took her first steps in the kitchen this morning!",),
        "When did {me}'s baby begin to walk?",
    ),
    Fact(
        "You look exhausted.",
        ("The upstairs pipes burst, we spent the night mopping with beach towels.",),
        "What went wrong with the plumbing at {me}'s place?",
    ),
    Fact(
        None,
        ("I told my dad that I am not taking over the bakery. He took it better than I feared.",),
        "What did {me} decide about the family bakery?",
    ),
    Fact(
        "What are you making these days?",
        ("Mostly bowls. The kiln at the studio is free on Thursday nights so I fire everything then.",),
        "What kind of art does {me} make?",
    ),
    Fact(
        None,
        ("Ran into my old chemistry teacher, Mr. Okafor. He still remembers the fire alarm incident.",),
        "Which teacher did {me} meet again?",
    ),
    Fact(None, ("The orthodontist says braces for eighteen months. At my age!",), "How long must {me} wear braces?"),
    Fact(
        "Are you still playing chess?",
        ("Every lunch break, and I won the club's blitz tournament in the spring.",),
        "Which tournament did {me} win?",
    ),
    Fact(
        None,
        ("I donated my hair last week, fourteen inches to the charity that makes wigs for children.",),
        "What did {me} give to charity?",
    ),
    Fact(
        None,
        ("My roommate moved out, so the spare room is going to be a tiny home studio for my podcast.",),
        "What is {me} planning to do with the spare room?",
    ),
    Fact(
        "Do you two have plans for the summer?",
        ("Cycling along the Danube, from Passau to Vienna, with a tent.",),
        "Where is {me} going cycling?",
    ),
    Fact(
        None,
        ("They cancelled our flight in Doha, we slept on the floor by gate C12.",),
        "At which airport was {me} stranded?",
    ),
    Fact(
        None,
        ("I have been vegan for a hundred days today. The cheese cravings are gone.",),
        "How long has {me} been vegan?",
    ),
    Fact(
        "How is the book club?",
        ("We picked The Left Hand of Darkness, I am hosting in two weeks.",),
        "What will {me}'s book club read?",
    ),
    Fact(None, ("I adopted a greyhound called Comet who is scared of the toaster.",), "What is {me}'s dog afraid of?"),
    Fact(
        None,
        (
            "Quit the gym and joined a climbing wall instead, my forearms are killing me.",
            "Tried paddle boarding on the canal, fell in twice.",
            "My first ice hockey practice! I can hardly walk.",
        ),
        "What sports has {me} tried?",
    ),
    Fact(
        None,
        (
            "Finished Circe last night and I am a mess.",
            "Could not put Educated down, read it on the train both ways.",
            "I am halfway through The Overstory, the trees are the best characters.",
        ),
        "Which books has {me} been reading?",
    ),
    Fact(
        None,
        (
            "We spent the bank holiday in Tallinn, the old town is like a film set.",
            "Back from Marrakesh with a rug I did not need.",
        ),
        "Where has {me} travelled?",
    ),
    Fact(
        None,
        (
            "Made my first sourdough, it came out like a brick.",
            "The second loaf was edible at least, my brother ate half of it.",
        ),
        "How did {me}'s bread turn out?",
    ),
)
LATER_PEOPLE = (
    Fact(
        None,
        ("I got my motorcycle licence on Tuesday, third attempt lucky.",),
        "When did {me} get the motorcycle licence?",
    ),
    Fact(
        "Why are you limping?",
        ("Stepped on a sea urchin while snorkelling, the doctor pulled out nine spines.",),
        "What injured {me}'s foot?",
    ),
    Fact(
        None,
        ("We put an offer on the flat above the florist and they accepted it!",),
        "Where is the apartment that {me} is buying?",
    ),
    Fact(
        "How did the audition go?",
        ("I forgot one line, but they called me an hour later: I am playing Lady Bracknell.",),
        "Which role did {me} get in the play?",
    ),
    Fact(
        None,
        ("My uncle gave me his old telescope, I saw the rings of Saturn from the roof.",),
        "What did {me} receive from the uncle?",
    ),
    Fact(
        None,
        ("Going to see the northern lights in Tromsø with my flatmate Noor over new year.",),
        "Who is joining {me} on the trip to see the northern lights?",
    ),
    Fact(
        "Have you settled on a name for the shop?",
        ("It will be called Second Chapter. The sign painter comes next week.",),
        "What is {me}'s shop called?",
    ),
    Fact(
        None,
        ("We ordered six hens for the garden, the coop took me two weekends to build.",),
        "How many hens does {me} have?",
    ),
    Fact(
        "Any news about the scholarship?",
        ("They gave it to me! Two years in Edinburgh, everything paid.",),
        "Where will {me} study with the scholarship?",
    ),
    Fact(
        None,
        ("I do twenty minutes of meditation before breakfast now, it calms me down.",),
        "How does {me} deal with stress?",
    ),
    Fact(
        None,
        ("My son lost his first tooth at the cinema and we had to search for it with a torch.",),
        "Where did {me}'s child lose a tooth?",
    ),
    Fact(
        "Is your car back?",
        ("No, the gearbox is gone and the garage wants two thousand for it.",),
        "What is broken in {me}'s car?",
    ),
    Fact(
        None,
        ("I turned down the promotion. More money, but no more Fridays with the kids.",),
        "Why did {me} not take the promotion?",
    ),
    Fact(
        "What is all that wood for?",
        ("A canoe! Cedar strips, I follow a plan from the seventies.",),
        "What is {me} building?",
    ),
    Fact(
        None,
        ("Bumped into my ex at the supermarket, he is engaged to a dentist now.",),
        "Who is {me}'s former partner going to marry?",
    ),
    Fact(
        None,
        ("The physio wants me to do exercises for my shoulder twice a day until Easter.",),
        "Until when must {me} exercise the shoulder?",
    ),
    Fact(
        "Do you still sing?",
        ("In the cathedral choir, and we came second in the regional contest.",),
        "How did {me}'s choir do in the competition?",
    ),
    Fact(None, ("I gave blood for the tenth time today and got a silver pin.",), "How often has {me} donated blood?"),
    Fact(
        None,
        ("The attic is empty at last, we want to rent it out to students.",),
        "What does {me} want to do with the attic?",
    ),
    Fact(
        "Where are you off to in August?",
        ("Walking the Camino, the last hundred kilometres from Sarria.",),
        "Which route is {me} going to hike?",
    ),
    Fact(
        None,
        ("My suitcase went to Oslo while I landed in Naples, I wore a hotel bathrobe for two days.",),
        "What happened to {me}'s luggage?",
    ),
    Fact(None, ("Half a year without cigarettes as of this morning!",), "How long ago did {me} stop smoking?"),
    Fact(
        "What are you watching?",
        ("The Danish series about the prime minister, we are on season two.",),
        "Which show is {me} watching?",
    ),
    Fact(None, ("Our new cat Pickle opens doors by hanging from the handle.",), "What can {me}'s cat do?"),
    Fact(
        None,
        (
            "Started pottery on Monday evenings, everything I make leans to the left.",
            "I bought a second-hand loom and wove a scarf.",
            "The life drawing class was fun, I was the oldest by thirty years.",
        ),
        "Which crafts or arts has {me} taken up?",
    ),
    Fact(
        None,
        (
            "Saw Stromae live, the whole hall danced.",
            "The string quartet at the castle was lovely, even in the rain.",
            "A fado singer in a tiny cellar made me cry.",
        ),
        "Which concerts has {me} been to?",
    ),
    Fact(
        None,
        ("Greetings from Ghent, I have eaten my weight in waffles.", "We are just back from a week in Palermo."),
        "Which cities has {me} visited?",
    ),
    Fact(
        None,
        ("Planted two apple trees behind the shed.", "Something ate all my lettuce overnight, I suspect the slugs."),
        "What is growing in {me}'s garden?",
    ),
)

#: A user and an assistant: what the user mentions with a request. {request} is any request.
KNOWN_USERS = (
    Fact(
        None,
        ("I commute from Reading on the 7:12 and the train is always full. Any podcasts on economics?",),
        "Which train do I take to work?",
    ),
    Fact(
        None,
        ("My mother-in-law is visiting for three weeks. How do I make a sofa bed more comfortable?",),
        "Who is staying with us for some weeks?",
    ),
    Fact(
        None,
        ("Since the surgery on my wrist I type with one hand. Is there good dictation software?",),
        "Why can I only type with one hand?",
    ),
    Fact(
        None,
        ("We have 140 guests and the venue holds 120. How do I uninvite people politely?",),
        "How many guests did I invite to the wedding?",
    ),
    Fact(
        None,
        ("I teach year nine history and half of them sleep. Give me an activity on the Blitz.",),
        "What do I teach?",
    ),
    Fact(None, ("Our dishwasher, a Bosch series 4, shows E15. What does it mean?",), "Which dishwasher do I own?"),
    Fact(
        None,
        ("I am 17 weeks along and everything smells of onions. What can I eat?",),
        "How far along is my pregnancy?",
    ),
    Fact(
        None,
        ("The landlord keeps the deposit of 1,350 euros because of a scratch. Draft a letter.",),
        "How much is the deposit that my landlord keeps?",
    ),
    Fact(
        None,
        ("I run a stall for vintage cameras at the Sunday market. Suggest a slogan.",),
        "What do I sell at the market?",
    ),
    Fact(None, ("My nephew Otis turns six and is mad about diggers. What present?",), "What is my nephew crazy about?"),
    Fact(
        None,
        ("I switched from Python to Rust in March. Explain lifetimes slowly.",),
        "Which programming language did I move to?",
    ),
    Fact(None, ("As the treasurer of our allotment club I need a budget template.",), "What is my role in the club?"),
    Fact(
        None,
        ("Write a toast for my parents, who have been married for 40 years.",),
        "How long have my parents been married?",
    ),
    Fact(
        None,
        ("I can only work out before 6 in the morning, with two dumbbells. Make a plan.",),
        "What equipment do I have for exercise?",
    ),
    Fact(
        None,
        ("We drive to Brittany with a toddler and a dachshund. How many breaks?",),
        "Where are we driving with the dog?",
    ),
    Fact(
        None,
        (
            "I read Middlemarch in April. What next?",
            "Just finished Silas Marner, a short summary please?",
            "What is the ending of Romola about? I have read it but do not get it.",
        ),
        "Which novels by George Eliot have I read?",
    ),
    Fact(
        None,
        (
            "I bought a Brompton for the commute. How do I fold it?",
            "I also got myself a cargo bike for the kids. Which lock?",
        ),
        "How many bikes have I bought?",
    ),
)
LATER_USERS = (
    Fact(
        None,
        ("I cycle to the office along the river, twelve kilometres. Which panniers are waterproof?",),
        "How far is my way to work?",
    ),
    Fact(
        None,
        ("My stepson moves in with us in May. How do I split a room with a curtain?",),
        "Who will live with us from spring on?",
    ),
    Fact(
        None,
        ("I sprained my ankle at handball, so no stairs. Which stretches can I do sitting?",),
        "How did I injure my ankle?",
    ),
    Fact(
        None,
        ("The funeral is for 60 people in a small chapel. How should the seating be?",),
        "How many people are coming to the funeral?",
    ),
    Fact(None, ("I work nights as a midwife. How do I sleep during the day?",), "What do I do for a living?"),
    Fact(
        None,
        ("My espresso machine is a Gaggia Classic and it leaks. Where do I look first?",),
        "What coffee machine do I have?",
    ),
    Fact(
        None,
        ("I have been on metformin since the diagnosis. Can I drink grapefruit juice?",),
        "Which medicine do I take?",
    ),
    Fact(
        None,
        ("The insurer pays only 780 of the 2,100 pounds for the roof. Write an objection.",),
        "How much does the insurance pay for the roof?",
    ),
    Fact(
        None, ("I restore church organs with my brother. Suggest a name for our firm.",), "What is my business about?"
    ),
    Fact(
        None,
        ("My goddaughter Lotte collects fossils. A gift under 30 euros?",),
        "What does my goddaughter like to collect?",
    ),
    Fact(
        None,
        ("I gave up the violin for the viola last winter. Which duets are there?",),
        "Which instrument did I change to?",
    ),
    Fact(
        None,
        ("As captain of the bowling team I have to write the season's report. Structure?",),
        "What position do I have in the team?",
    ),
    Fact(
        None,
        ("A poem for my grandparents' diamond wedding, please.",),
        "Which anniversary do my grandparents celebrate?",
    ),
    Fact(
        None,
        ("I have a balcony of three square metres facing north. What grows there?",),
        "Which direction does my balcony face?",
    ),
    Fact(
        None,
        ("We take the night train to Zagreb with two cellos. Do they need tickets?",),
        "Where are we travelling by night train?",
    ),
    Fact(
        None,
        (
            "I saw Vertigo last night, why the green light?",
            "Is Rear Window based on a story? I watched it with my daughter.",
            "We tried North by Northwest yesterday, what is the title about?",
        ),
        "Which Hitchcock films have I watched?",
    ),
    Fact(
        None,
        (
            "I adopted a second rabbit. How do I introduce them?",
            "My third rabbit arrived from the shelter, is a hutch of 2 m big enough?",
        ),
        "How many rabbits do I have?",
    ),
)

#: Other messages of such conversations, beyond `recall_material.SMALL_TALK`: on the same subjects, of others.
ASIDES = (
    "My colleague passed his driving test and will not stop talking about it.",
    "I saw a cottage by a lake in a magazine, a dream.",
    "My sister's band broke up, they were terrible anyway.",
    "The neighbours have a new kitten, it sits in the window all day.",
    "Somebody at work is moving to Lyon, lucky them.",
    "Did you hear that the bakery on the corner closes?",
    "I would love to see an exhibition again, it has been ages.",
    "That airport is the worst, I always get lost.",
    "Everybody seems to be vegan these days.",
    "The teacher of my nephew is so strict.",
    "How was your week? Mine was all meetings.",
    "I dreamed that I won a tournament, of all things.",
    "Your dog is the cutest, give him a hug from me.",
    "I keep buying books and never read them.",
    "My knees hurt, I should do more sport.",
    "We should go cycling together one day.",
    "The flat next door is for sale, far too expensive.",
    "There was a concert in the park, we only heard the bass.",
    "My aunt sings in a choir, she keeps inviting me.",
    "Garages always find one more thing to repair.",
    "I thought about a canoe trip, but I cannot swim well.",
    "The theatre is doing The Importance of Being Earnest this year.",
    "Somebody left a suitcase on the platform and they closed the station.",
    "A friend gave up smoking and eats sweets all day now.",
    "I am thinking about hens, but the fox would be delighted.",
    "What are you doing for new year?",
    "You should write that down, it would make a good story.",
    "I could use a holiday by the sea.",
    "Did I tell you about the slugs? No? Better not.",
    "My cousin got a scholarship, the whole family is proud.",
)
