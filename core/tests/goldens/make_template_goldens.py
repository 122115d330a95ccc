"""Write core/tests/goldens/templates/expected.json: what transformers makes of real chat templates.

    pip install transformers==5.23.0 jinja2==3.1.6
    python3 core/tests/goldens/make_template_goldens.py

Every `*.jinja` beside that file is rendered for every conversation below by `apply_chat_template`, with the date held still.
What a template objects to through `raise_exception` is kept in its words; any other failure only as a failure.
"""

import datetime
import json
from pathlib import Path

import jinja2
from transformers import PreTrainedTokenizerFast
from transformers.utils import chat_template_utils

HERE = Path(__file__).parent
FOLDER = HERE / "templates"
DEMO = HERE / "../../../assets/demo/target/tokenizer.json"
TODAY = datetime.datetime(2026, 3, 9)


class Today(datetime.datetime):
    """`datetime` of a day that does not pass."""

    @classmethod
    def now(cls, tz=None):
        return cls(TODAY.year, TODAY.month, TODAY.day, tzinfo=tz)


def system(content):
    return {"role": "system", "content": content}


def user(content):
    return {"role": "user", "content": content}


def assistant(content):
    return {"role": "assistant", "content": content}


CONVERSATIONS = {
    "user": [user("What is 29 + 5?")],
    "system and user": [system("You are a careful mathematician."), user("What is 29 + 5?")],
    "several turns": [
        system("Be brief."),
        user("1 + 1?"),
        assistant("2"),
        user("And 2 + 2?"),
        assistant("4"),
        user("Why?"),
    ],
    "several turns without a system message": [user("1 + 1?"), assistant("2"), user("And 2 + 2?")],
    "Japanese": [system("日本語で答えてください。"), user("問題:29と5の合計は?\n答えは?")],
    "thinking in an earlier answer": [
        user("1 + 1?"),
        assistant("<think>\nOne and one.\n</think>\n\nIt is 2."),
        user("And 2 + 2?"),
    ],
    "quotes, braces and line breaks": [
        system('Say "yes" or \'no\'.\n\n{% raw %}'),
        user("{{ messages }} {% if %} {# no #} \\boxed{29}\r\n\ttab <|im_end|> & <b>\n"),
    ],
    "white space around": [system("  two spaces  \n"), user("\n  x\u3000\u00a0 "), assistant(" y\n\n"), user(" z ")],
    "nothing said": [user("")],
    "an empty system message": [system(""), user("x")],
    "two messages of the person": [user("a"), user("b")],
    "a system message later": [user("a"), assistant("b"), system("c"), user("d")],
    "the assistant first": [assistant("a"), user("b")],
}

# What templates use now and then, each by itself.
SNIPPETS = [
    "{{ messages[1:]|length }} {{ messages[::-1][0].role }} {{ messages[-1]['content'][:3] }}",
    "{% for m in messages %}{{ loop.index0 }}/{{ loop.length }}{{ loop.first }}{{ loop.last }} {% endfor %}",
    "{% for m in messages %}{% if loop.previtem is defined %}{{ loop.previtem.role }}>{% endif %}{{ m.role }}"
    "{% if loop.nextitem is defined %}>{{ loop.nextitem.role }}{% endif %};{% endfor %}",
    "{% set ns = namespace(n=0, seen=false) %}{% for m in messages %}{% set ns.n = ns.n + 1 %}{% endfor %}{{ ns.n }}",
    "{% for m in messages if m.role == 'user' %}{{ m.content }}{% else %}none{% endfor %}",
    "{% for m in messages %}{% if loop.index > 1 %}{% break %}{% endif %}{{ m.role }}{% endfor %}",
    "{% for key, value in messages[0].items() %}{{ key }}={{ value }};{% endfor %}",
    "{% for key, value in messages[0]|items %}{{ key }}={{ value }};{% endfor %}",
    "{{ messages[0]|tojson }} {{ messages[0]|tojson(indent=2) }}",
    "{{ {'b': 1, 'a': [1.0, true, none, 'é\"<>&']}|tojson }}",
    "{{ {'b': 1, 'a': [1, 2]}|tojson(separators=(',', ':'), sort_keys=true) }}",
    "{{ {'a': 'é日本'}|tojson(ensure_ascii=true) }}",
    "{{ [[], {}, [1], {'a': []}]|tojson(indent=4) }}",
    "{{ strftime_now('%Y-%m-%d') }} {{ strftime_now('%d %b %Y') }} {{ strftime_now('%B %-d, %Y, %A %j') }}",
    "{{ tools is defined }} {{ tools is none }} {{ documents is none }} {{ nothing is defined }}",
    "{% if tools is not none %}tools{% else %}no tools{% endif %}",
    "{{ true }} {{ false }} {{ none }} {{ 1 }} {{ 2.0 }} {{ 7 // 2 }} {{ 7 / 2 }} {{ 7 % 4 }} {{ 2 ** 3 }}",
    "{{ 'x' ~ true ~ none ~ 1 }} {{ true|string }} {{ none|string }}",
    "{{ ['a', 1, none, true] }} {{ {'k': 'v'} }} {{ ('a',) }}",
    "{{ '  a b '.strip() }}|{{ 'xxaxx'.strip('x') }}|{{ ' a'.lstrip() }}|{{ 'a\n\n'.rstrip('\n') }}",
    "{{ 'a,b,c'.split(',') | join('+') }} {{ 'a,b,c'.split(',', 1)[1] }} {{ 'a  b'.split() | length }}",
    "{{ 'a,b,c'.rsplit(',', 1)[0] }} {{ 'a,b,c'.rsplit(',')|length }} {{ 'abc'.rsplit(',', -1)[-1] }}",
    "{{ 'a</think>b'.partition('</think>')[2] }} {{ 'ab'.partition('-')[0] }} {{ 'a-b-c'.rpartition('-')[0] }}",
    "{{ 'abc'.index('x') }}",
    "{{ ', '.join(['a', 'b']) }} {{ ''.join([]) }} {{ '-'.join('abc') }}",
    "{{ ', '.join(['a', 1]) }}",
    "{{ 'abc'.partition('') }}",
    "{{ {'日': ['é\\u007f\\n', '𝄞']}|tojson(ensure_ascii=true, indent=1, separators=(';', '=')) }}",
    "{{ {}|tojson(indent=2) }} {{ [{}]|tojson }} {{ 'a'|tojson(indent=0) }}",
    "{{ 'prefix-a'.removeprefix('prefix-') }} {{ 'a.txt'.removesuffix('.txt') }}",
    "{{ 'abc'.startswith('ab') }} {{ 'abc'.endswith(('x', 'c')) }} {{ 'abc'.find('c') }} {{ 'abca'.rfind('a') }}",
    "{{ 'a-b'.replace('-', '+') }} {{ 'aBc'.upper() }} {{ 'aBc'.lower() }} {{ 'ab cd'.title() }} {{ 'ab'.capitalize() }}",
    "{{ 'a\nb\n'.splitlines() | length }} {{ 'aba'.count('a') }} {{ 'abc'.index('b') }} {{ '12'.isdigit() }}",
    "{{ '{} and {}'.format('a', 'b') }} {{ '%s-%d' | format('a', 3) }}",
    "{{ 'b' in 'abc' }} {{ 'user' in messages|map(attribute='role')|list }} {{ 'x' not in ['a'] }}",
    "{{ messages|selectattr('role', 'equalto', 'user')|list|length }} {{ messages|rejectattr('role', 'equalto', 'user')|list|length }}",
    "{{ messages|map(attribute='content')|map('trim')|join('|') }} {{ messages|map(attribute='role')|unique|join(',') }}",
    "{{ [3, 1, 2]|sort|join }} {{ [1, 2]|sum }} {{ [1, 2]|first }} {{ [1, 2]|last }} {{ range(1, 7, 2)|list|join(',') }}",
    "{{ nothing|default('d') }} {{ ''|default('d', true) }} {{ 'a'|upper }} {{ '<b>'|e }} {{ '<b>'|safe }} {{ ' a '|trim }}",
    "{{ messages is iterable }} {{ messages is sequence }} {{ messages[0] is mapping }} {{ 'a' is string }} {{ 1 is number }}",
    "{{ messages[0].missing is defined }} {{ messages[0]['missing'] }}|{{ messages[0].get('missing', 'd') }}",
    "{{ 'yes' if messages and messages[0].role == 'system' else 'no' }}{{ '!' if false }}",
    "{% macro said(m, mark='>') %}{{ mark }}{{ m.content }}{% endmacro %}{{ said(messages[0]) }}{{ said(messages[1], mark='#') }}",
    "{% set text %}  {{ messages[0].role }}\n{% endset %}[{{ text }}]",
    "a\n  {% if true %}\n  b\n  {% endif %}\nc\n\n  {#- note -#}\n  d {%+ if true %} e {% endif %}\n",
    "{%- for m in messages -%}\n  {{- m.role }}\n{%- endfor %}\n",
    "{% generation %}said{% endgeneration %}{%- generation -%} said {%- endgeneration -%}",
    "{{ dict(a=1)|tojson }} {{ {'a': 1}.keys()|list }} {{ {'a': 1}.values()|list }} {{ {'a': 1}|length }}",
    "{{ 'a' * 3 }} {{ [1] + [2] }} {{ 'a' + 'b' }} {{ -3|abs }} {{ 2.5|round }} {{ 3|float }} {{ '3'|int + 1 }}",
    "{{ '日本語'[1:] }} {{ '日本語'|length }} {{ 'a\tb\\n' }} {{ \"it's\" }}",
    "{% set x = [] %}{% set x = x + ['a'] %}{% set (p, q) = ('p', 'q') %}{{ x|join }}{{ p }}{{ q }}",
    "{{ raise_exception('No ' + messages[0].role) }}",
    "{{ messages[0].content.nothing() }}",
    "{{ nothing.at.all }}",
    "{{ messages + 1 }}",
]


def rendered(tokenizer, template, messages):
    try:
        text = tokenizer.apply_chat_template(
            messages, chat_template=template, tokenize=False, add_generation_prompt=True
        )
    except jinja2.exceptions.TemplateRuntimeError:
        return {"fails": True}
    except jinja2.exceptions.TemplateError as error:
        return {"refused": str(error)}
    except Exception:  # What a template does wrong shows as any of Python's errors.
        return {"fails": True}
    return {"text": text}


def main():
    chat_template_utils.datetime = Today
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(DEMO), bos_token="<s>", eos_token="</s>")
    templates = {path.stem: path.read_bytes().decode() for path in sorted(FOLDER.glob("*.jinja"))}
    said = CONVERSATIONS["system and user"]
    expected = {
        "date": TODAY.date().isoformat(),
        "conversations": CONVERSATIONS,
        "templates": {
            name: {label: rendered(tokenizer, template, messages) for label, messages in CONVERSATIONS.items()}
            for name, template in templates.items()
        },
        "snippets": [{"source": source, **rendered(tokenizer, source, said)} for source in SNIPPETS],
    }
    text = json.dumps(expected, ensure_ascii=False, indent=1)
    (FOLDER / "expected.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
