"""A small tokenizer built by hand, so that a question of the nano world takes few tokens and any other text still fits.

The model is a Unigram without normaliser or pre-tokenizer: a text is cut into the fewest pieces, and what no piece
covers becomes its UTF-8 bytes. So every text comes back exactly. A space belongs to the word after it; before a digit
it stands alone, so that a number looks the same wherever it is copied to. Digits come in pairs where there are two:
with single digits a model of this size miscopied every second sum after ten million tokens.

Scores are whole numbers, which makes sums exact, and no piece crosses a place where `sparkctl.method.chat` joins two parts:
encoding the parts gives the same ids as encoding the whole.
"""

import re
from typing import TYPE_CHECKING

from sparkctl.method.episode import ACTION, ACTIONS, ANSWER, COT_OBSERVATION, INPUT, LETTERS, OBSERVATION, THOUGHT
from sparkctl.nano import questions, world

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

PAD, USER, ASSISTANT, END, UNKNOWN = SPECIALS = ("<|pad|>", "<|user|>", "<|assistant|>", "<|end|>", "<|unknown|>")
CHAT_TEMPLATE = (
    "{% for message in messages %}{% if message['role'] != 'system' %}"
    "{{ '<|' + message['role'] + '|>' + message['content'] + '<|end|>' }}"
    "{% endif %}{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
"""The system message is left out: the policy was trained on one task and reads no instructions."""

MARKERS = (THOUGHT, ACTION, INPUT, ANSWER, OBSERVATION, "Question:", "\nOptions:")
PHRASES = (
    f" {COT_OBSERVATION}",
    " error:",
    " not an arithmetic expression",
    " unknown name",
    " unknown function",
    " write NUMBER UNIT to UNIT, such as",
    " no result",
    " (no output)",
    " SyntaxError:",
    " invalid syntax",
    " NameError:",
    " is not defined",
    " multiply by",
    " print(",
    " Answer:",
)
"""What the tools of the nano world say often, and the openings of inputs."""

# fmt: off
ENGLISH = (
    "the of and to in is that for it as was with be by on not he his but at are this have had from or which one you were all "
    "her she there would their we him been has when who will no more if out so what up its about into than them can only "
    "other time new some could these two may first then do any like my now over such our man me even most made after also "
    "did many off before must well back through years where much your way down should because long each just state those "
    "people mr how too little good world make very year still see work men day get here between both life being under three "
    "never know same last another while us might great go come since against right came take used himself few house use "
    "place during high without again around however small mrs found thought went say part once general upon school every "
    "don does got united left number course war until always away something fact water though less public put think almost "
    "hand enough took far yet government system set better told nothing night end why called find going look asked later "
    "point knew next program city business give group toward days young let room present side social given several order "
    "possible rate following statement true false correct best describes example value cell energy force mass theory law "
    "court person money price market cost company function data average total equal per cent area line body blood likely "
    "increase decrease level change result effect cause form based study question answer none above type known power "
    "pressure temperature volume current field light wave speed constant sample probability normal test mean income tax "
    "contract property party action defendant plaintiff child health disease patient drug food human population growth "
    "political economic economy trade labor product moral argument according because "
    "which following statements difference structure process method model problem solution step continue"
)
ENDINGS = (
    "ing ed er es s ly tion ation ment ness able ible al ial ic ical ive ous ity ty est ent ant ence ance or ist ism ful less "
    "th he in en re on an st nd nt at te ve le de ce se ll ss un ex pro con com per pre dis inter trans ch sh ck qu ph ou ea "
    "ai ie oo ee ar ir ur um us ol ul il el ad id od ab ob ig ag ap op ip up am em im om ac ec oc uc fr tr pr br gr cl pl bl"
)
# fmt: on


def build() -> "PreTrainedTokenizerFast":
    """The tokenizer as transformers wants it, chat template included."""
    from tokenizers import AddedToken, Tokenizer, decoders, models
    from transformers import PreTrainedTokenizerFast

    pieces = vocabulary()
    model = models.Unigram([*pieces.items()], unk_id=list(pieces).index(UNKNOWN), byte_fallback=True)
    tokenizer = Tokenizer(model)
    tokenizer.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse()])
    tokenizer.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in SPECIALS])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        eos_token=END,
        unk_token=UNKNOWN,
        additional_special_tokens=[USER, ASSISTANT],
        chat_template=CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
        model_max_length=2048,
        padding_side="left",
    )


def vocabulary() -> dict[str, float]:
    """Every piece with its score. Fewest pieces win; of two equal cuts the one of earlier pieces does."""
    hidden = [*SPECIALS, *(f"<0x{byte:02X}>" for byte in range(256))]
    scores = dict.fromkeys(hidden, -1e9)  # spelt out in a text they are ordinary characters
    for index, piece in enumerate(_pieces()):
        scores.setdefault(piece, -100_000.0 - index)
    return scores


def _pieces() -> list[str]:
    """All pieces that a text can be cut into, each once."""
    characters = [chr(code) for code in range(32, 127)]
    options = [f"\n{letter}." for letter in LETTERS]
    tools = [f" {tool}" for tool in ACTIONS]
    names = [*(f" {head}" for head in world.HEADS), *world.HEADS, *world.TAILS]
    words = [f" {word}" for word in [*_world_words(), *ENGLISH.split()]]
    signs = [f" {sign}" for sign in "+-*/=#(."]
    plain = [*ENDINGS.split(), *(word for word in ENGLISH.split() if len(word) > 6)]
    numbers = [f"{number:02}" for number in range(100)]
    every = ["\n", "\t", *characters, *MARKERS, *options, *tools, *PHRASES, *signs, *numbers, *names, *words, *plain]
    return list(dict.fromkeys(every))


def _world_words() -> list[str]:
    """Words of the templates, the units and the classes, without the made-up names."""
    texts = [text for templates in questions.SUMS.values() for text, _ in templates]
    for domain in world.DOMAINS.values():
        texts += [*domain.relations, domain.number, domain.kind, *domain.members]
        texts += [word for unit, smaller, _ in domain.units for word in (unit, smaller)]
    texts += [word for group in (*world.OPPOSITES, *world.ORDERS) for word in group]
    texts += [
        "i must find the opposite of the next after a convert compute pick",
        "what is which of these how many make in",
    ]
    texts += ["times plus comes", "i do not know it yet", "the answer is"]
    return sorted({word for text in texts for word in re.findall(r"[a-z]+", re.sub(r"{\w}", "", text))})
