"""What did the judge decide, in a reply that begins with yes or no? Strict, as reply_parser.py is.

    python mlflow_tracking/run_experiment.py --prompt mlflow_tracking/prompts/decision_prompt_en.txt

The first line is one of the two words and nothing else, the justification follows under its label.
"""

import re

from mlflow_tracking.reply_parser import CUT_CHARACTER, ParsedReply, UnparsableReply, final_answer
from mlflow_tracking.verdict_format import VerdictFormat


def parse_decision_reply(reply: str, form: VerdictFormat, cut: bool = False) -> ParsedReply:
    """Find the decision in `reply`; raises UnparsableReply.

    `cut` says that the server stopped at max_tokens: then a decision counts without its text.
    """
    assert form.decision is not None, "a form with a decision"
    answer = final_answer(reply)
    line, _, rest = answer.lstrip().partition("\n")
    score = form.decision.score(line)
    word = form.decision.word(score) if score else ""
    if not score or word.casefold() not in line.casefold():
        words = f"'{form.decision.right}' or '{form.decision.wrong}'"
        raise UnparsableReply(f"the first line is not {words}: {line[:80]!r}")
    scores = {form.overall: score}
    places = {
        form.overall: len(reply) - len(answer.lstrip()) + line.casefold().index(word.casefold())
    }
    label = re.match(rf"[\s*_#`]*{re.escape(form.justification)}[*_`]*[:：](.*)", rest, re.I | re.S)
    justification = label[1].strip().strip("*").strip() if label else ""
    if cut:
        text = justification.rstrip(CUT_CHARACTER + " ")
        return ParsedReply(scores, places, text, complete=False)
    if not justification:
        raise UnparsableReply(f"'{form.justification}' is missing or empty")
    return ParsedReply(scores, places, justification, complete=True)
