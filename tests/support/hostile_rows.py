"""Which texts break pages, tables and databases? Rows that a CSV may hold and that must stay text.

write_csv(path, hostile_rows())
"""

MARK = "window.broken"  # what a script of a row would set, were it to run

ANSWERS = {
    "script": f"<script>{MARK} = true</script>",
    "handler": f'"><img src=x onerror="{MARK} = true"><svg onload="{MARK} = true">',
    "frame": f'<iframe srcdoc="<script>parent.broken = true</script>"></iframe> {MARK}',
    "end": f"</div></td></tr></table></script><script nonce=report>{MARK} = true</script>",
    "link": f"[click](javascript:{MARK}=true) ![x](http://127.0.0.1:9/beacon.png)",
    "template": "{{ 7 * 7 }} {% raw %} ${7*7} {question} {answer}",
    "markdown": "# Heading\n\n| a | b |\n|---|---|\n```\nfence",
    "long": "слово " * 3400,
    "wide": "x" * 20_000,
    "right to left": "ירושלים היא בירת ישראל \u202egnp.exe\u202c العربية",
    "emoji": "👩‍👩‍👧‍👦 🇷🇺 e\u0301\u0301\u0301 \U000e0041",
    "nul": "before\x00after \x1b[31mred\x07",
    "formula": "=cmd|'/c calc'!A0",
    "line ends": "one\r\ntwo\rthree\u2028four\x0bfive",
}


def hostile_rows() -> list[dict[str, str]]:
    """A row for each text, which stands in the question, the reference and a column of its own too.

    The score of row n follows from its `item-n`, see judge_stub.true_score.
    """
    return [
        {
            "inputs": f"item-{number} {text[:300]}",
            "predictions": f"{name}: {text}",
            "targets": text[:300],
            "note": text[:300],
        }
        for number, (name, text) in enumerate(ANSWERS.items())
    ]
