"""The words that sample rows are made of; a change here changes every seeded row."""

from collections.abc import Sequence
from random import Random
from typing import NamedTuple, TypeVar

Item = TypeVar("Item")


class Topic(NamedTuple):
    """Something that people ask the assistant about."""

    name: str
    subjects: tuple[str, ...]
    advice: tuple[str, ...]


def pick(rng: Random, items: Sequence[Item]) -> Item:
    """One of the items, by a draw that gives the same one on every Python release."""
    return items[int(rng.random() * len(items))]


TOPICS = (
    Topic(
        "pricing",
        ("our monthly plan", "the volume discount", "usage-based billing", "the yearly price rise"),
        (
            "publish three plans",
            "interview ten paying customers",
            "raise the entry price a little",
            "drop the free tier",
        ),
    ),
    Topic(
        "hiring",
        ("the first sales hire", "our interview loop", "a part-time bookkeeper", "the job advertisement"),
        ("write the scorecard first", "pay for a trial day", "ask for two references", "keep the loop to a week"),
    ),
    Topic(
        "marketing",
        ("the newsletter", "our launch campaign", "the referral programme", "search advertising"),
        ("pick one channel", "show a customer in each piece", "set a weekly budget", "measure sign-ups, not clicks"),
    ),
    Topic(
        "funding",
        ("the seed round", "a bank loan", "the investor update", "our pitch deck"),
        ("list your twenty best contacts", "ask for eighteen months", "lead with revenue", "compare the total cost"),
    ),
    Topic(
        "logistics",
        ("the delivery routes", "our packaging", "the second warehouse", "returns handling"),
        ("map one week of parcels", "renegotiate by zone", "print labels in advance", "charge for heavy returns"),
    ),
    Topic(
        "accounting",
        ("the quarterly VAT return", "our chart of accounts", "late invoices", "the annual closing"),
        (
            "reconcile every Friday",
            "send reminders on day three",
            "split the tax into its own account",
            "close monthly",
        ),
    ),
    Topic(
        "product",
        ("the onboarding screen", "our roadmap", "the mobile version", "the beta feedback"),
        ("watch five people use it", "cut one feature", "ship behind a switch", "write the announcement first"),
    ),
    Topic(
        "support",
        ("the help centre", "our reply times", "weekend coverage", "the refund policy"),
        ("answer the top ten questions", "publish the hours", "tag every ticket", "let agents refund small sums"),
    ),
    Topic(
        "legal",
        ("the terms of service", "our trademark", "the data processing agreement", "a supplier contract"),
        ("start from a standard form", "file before the launch", "name a contact person", "cap the liability"),
    ),
    Topic(
        "sustainability",
        ("our carbon footprint", "recycled materials", "the energy contract", "repair instead of replacement"),
        ("measure transport first", "ask suppliers for proof", "switch at renewal", "publish one honest figure"),
    ),
    Topic(
        "security",
        ("password rules", "the laptop policy", "our backup routine", "access for contractors"),
        ("turn on two factors", "rehearse a restore", "remove leavers the same day", "encrypt the disks"),
    ),
    Topic(
        "expansion",
        ("the second shop", "selling abroad", "a franchise model", "the wholesale channel"),
        ("run a market stall for a month", "translate the checkout", "test with two partners", "keep stock central"),
    ),
)

SYSTEM_PROMPT = "You advise small businesses. Be brief, be concrete, and say when you are not sure."

ASKS = (
    "How should we approach",
    "What would you change about",
    "Can you help me plan",
    "What are the risks of",
    "Who should look after",
    "How much should we spend on",
    "When is the right time for",
    "What do others do about",
)
SETTINGS = (
    "before the spring launch",
    "with a team of three",
    "on a small budget",
    "in the next quarter",
    "without new software",
    "for our oldest customers",
    "while the owner is away",
    "after a slow year",
)
LEADS = (
    "Start small:",
    "I would",
    "My advice:",
    "Two things:",
    "This week,",
    "Simplest first:",
    "If in doubt,",
    "Often it helps:",
)
REASONS = (
    "it is cheap to undo",
    "you will know within a month",
    "the rest can wait",
    "your customers notice it first",
    "it frees a day a week",
    "write down what you expect beforehand",
    "then look at the numbers again",
    "most competitors skip it",
)
ADJECTIVES = (
    "Amber", "Bright", "Copper", "Daring", "Early", "Fern", "Golden", "Honest", "Ivory", "Jade", "Kind", "Lunar",
    "Maple", "Noble", "Opal", "Plain", "Quiet", "River", "Silver", "Tidal", "Urban", "Velvet", "Winter",
)  # fmt: skip
PLACES = (
    "Arch", "Bridge", "Cove", "Dale", "Field", "Gate", "Harbor", "Island", "Junction", "Landing", "Meadow", "Orchard",
    "Point", "Quay", "Ridge", "Square", "Terrace", "Valley", "Yard",
)  # fmt: skip
TRADES = (
    "Bakery", "Bikes", "Books", "Brewery", "Ceramics", "Coffee", "Design", "Electric", "Fitness", "Florist", "Games",
    "Gardens", "Joinery", "Kitchens", "Language School", "Prints", "Repairs", "Robotics", "Tailors", "Travel",
)  # fmt: skip
INDUSTRIES = (
    "crafts",
    "education",
    "energy",
    "food",
    "health",
    "hospitality",
    "media",
    "retail",
    "software",
    "transport",
)
STAGES = ("idea", "validation", "launch", "growth")
COUNTRIES = ("AT", "BE", "CA", "DE", "DK", "ES", "FR", "IE", "IT", "JP", "NL", "NZ", "PT", "SE", "UK", "US")
FIRST_NAMES = (
    "Ada", "Grace", "Alan", "Edsger", "Barbara", "Donald", "Frances", "Ken", "Margaret", "Dennis", "Radia", "Niklaus",
    "Hedy", "Tony", "Katherine", "Claude",
)  # fmt: skip
LAST_NAMES = (
    "Abbott", "Bauer", "Costa", "Dubois", "Eriksen", "Fischer", "Garcia", "Haddad", "Ito", "Jansen", "Kowalski",
    "Lindqvist", "Moreau", "Nakamura", "Okafor", "Petrov", "Quinn", "Rossi", "Silva", "Tanaka", "Usman", "Visser",
    "Weber", "Xu", "Yilmaz", "Zhang",
)  # fmt: skip
