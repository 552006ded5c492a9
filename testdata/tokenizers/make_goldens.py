"""Makes the tokenizer and chat goldens of this folder.

Two tiny tokenizers are trained on the text below: byte-level BPE split as Llama 3 splits, and BPE as
converted from SentencePiece (byte fallback, leading space). The `tokenizers` library then encodes the
golden texts with them and with the built-in demo's tokenizer, and `transformers` renders our chat
templates. Needs `pip install gguf tokenizers transformers jinja2`; run from the workspace's root.
"""

import json
from pathlib import Path

import gguf
import tokenizers
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers
from tokenizers import pre_tokenizers, processors, trainers
from transformers.utils.chat_template_utils import render_jinja_template

HERE = Path(__file__).parent
CORPUS = [
    "The draft proposes and the target disposes; the text is the same either way.",
    "A tree of tokens hangs on the committed text, and one pass verifies all of it.",
    "def verify(tree):\n    for node in tree:\n        if node.token == draw(node):\n            yield node\n",
    "In 2024 and 2025 there were 1234567 tokens, of which 89% were accepted.\n\n",
    "Der Entwurf schlägt vor, das Ziel entscheidet. Überall gleich viele Wörter.",
] * 3
TEXTS = [
    "",
    " ",
    "The target verifies the draft.",
    "  The  target\t\tverifies\n\n the draft.  \n",
    "It's 12345 tokens, I'LL SAY: 3.14!",
    "schlägt Überall naïve 🦙 你好",
    "x<|end|>y <|begin|>z",
    "<s>The</s> target",
    "e\u0301 = é",
    "\u0000\u0007\ufffd",
]
LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
TEMPLATES = {
    "turns": "{{ bos_token }}{% for m in messages %}<|{{ m.role }}|>\n{{ m['content'] | trim }}"
    "{{ eos_token }}\n{% endfor %}{% if add_generation_prompt %}<|assistant|>\n{% endif %}",
    "system": "{%- if messages[0].role == 'system' %}\n    {%- set system = messages[0].content %}\n"
    "    {%- set rest = messages[1:] %}\n{%- else %}\n    {%- set system = 'Be good.' %}\n"
    "    {%- set rest = messages %}\n{%- endif %}\n{{- '[' ~ system ~ ']\\n' }}\n"
    "{%- set ns = namespace(seen=[]) %}\n{%- for m in rest %}\n    {%- if m.role == 'assistant' %}\n"
    "        {%- generation %}{{ m.content.split('</think>')[-1].lstrip('\\n') }}{% endgeneration %}\n"
    "    {%- else %}\n        {{- loop.index0 ~ ':' + m.content | upper }}\n    {%- endif %}\n"
    "    {%- set ns.seen = ns.seen + [m.role] %}\n{% endfor %}\n{{ ns.seen | join('+') }}\n"
    "{{ messages[-1] | tojson }}{{ tools is none }}{{ nothing is defined }}\n",
    "strict": "{% for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Roles must alternate: ' + m.role) }}{% endif %}{{ m.content }}|{% endfor %}",
}
CHATS = [
    [("user", " Hi <b>é</b>\n"), ("assistant", "<think>\nhm\n</think>\n\nHello!"), ("user", 'Say "bye"')],
    [("system", "Be brief."), ("user", "Hi")],
]


def byte_level():
    tokenizer = Tokenizer(models.BPE(ignore_merges=True))
    split = pre_tokenizers.Split(Regex(LLAMA3), "isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=340, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer.add_special_tokens(["<|begin|>", "<|end|>"])
    begin = tokenizer.token_to_id("<|begin|>")
    tokenizer.post_processor = processors.Sequence(
        [
            processors.ByteLevel(trim_offsets=False),
            processors.TemplateProcessing(
                single="<|begin|> $A", pair="<|begin|> $A $B", special_tokens=[("<|begin|>", begin)]
            ),
        ]
    )
    return tokenizer


def sentence_piece():
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    specials = ["<unk>", "<s>", "</s>"]
    trainer = trainers.BpeTrainer(
        vocab_size=470,
        special_tokens=[AddedToken(t, normalized=False) for t in specials]
        + [AddedToken(f"<0x{b:02X}>", normalized=False) for b in range(256)],
        show_progress=False,
        max_token_length=8,
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    # Byte pieces are pieces, not tokens to look for in a text.
    state = json.loads(tokenizer.to_str())
    state["added_tokens"] = [t for t in state["added_tokens"] if t["content"] in specials]
    return Tokenizer.from_str(json.dumps(state))


def write_gguf(name, tokenizer):
    """The same tokenizer as GGUF metadata: the scores are the negative ranks of the merges."""
    state = json.loads(tokenizer.to_str())
    pieces = {id: piece for piece, id in tokenizer.get_vocab(True).items()}
    specials = {t["id"] for t in state["added_tokens"]}
    merges = [" ".join(pair) for pair in state["model"]["merges"]]
    rank = {"".join(pair): float(i) for i, pair in reversed(list(enumerate(state["model"]["merges"])))}
    sentence_piece = state["model"]["byte_fallback"]
    types = []
    for id in range(len(pieces)):
        byte = sentence_piece and pieces[id].startswith("<0x")
        types.append(3 if id in specials else 6 if byte else 1)
    writer = gguf.GGUFWriter(HERE / f"{name}.gguf", "llama")
    writer.add_tokenizer_model("llama" if sentence_piece else "gpt2")
    writer.add_token_list([pieces[id] for id in range(len(pieces))])
    writer.add_token_types(types)
    if sentence_piece:
        # Single characters are never the result of a merge.
        writer.add_token_scores([-rank.get(pieces[id], 1e6) for id in range(len(pieces))])
        writer.add_bos_token_id(1)
        writer.add_eos_token_id(2)
        writer.add_unk_token_id(0)
        writer.add_add_bos_token(False)
    else:
        writer.add_tokenizer_pre("llama-bpe")
        writer.add_token_merges(merges)
        writer.add_bos_token_id(tokenizer.token_to_id("<|begin|>"))
    writer.add_chat_template(TEMPLATES["turns"])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def encodings(tokenizer):
    cases = []
    for text in TEXTS:
        bare = tokenizer.encode(text, add_special_tokens=False).ids
        full = tokenizer.encode(text).ids
        cases.append({"text": text, "bare": bare, "full": full, "decoded": tokenizer.decode(bare)})
    return cases


def chats():
    cases = []
    for name, template in TEMPLATES.items():
        for chat in CHATS:
            for add in (True, False):
                messages = [{"role": role, "content": content} for role, content in chat]
                case = {"template": name, "messages": chat, "add_generation_prompt": add}
                try:
                    rendered, _ = render_jinja_template(
                        [messages],
                        chat_template=template,
                        add_generation_prompt=add,
                        bos_token="<s>",
                        eos_token="</s>",
                    )
                    case["prompt"] = rendered[0]
                except Exception as error:  # the template's own refusal
                    case["refused"] = str(error)
                cases.append(case)
    return {"templates": TEMPLATES, "cases": cases}


def write(name, value, indent=None):
    text = json.dumps(value, ensure_ascii=False, indent=indent)
    (HERE / name).write_text(text + "\n", encoding="utf-8")


def main():
    demo = Tokenizer.from_file("models/foretoken-demo/tokenizer.json")
    goldens = {"tokenizers": tokenizers.__version__, "demo": encodings(demo)}
    for name, make in (("byte_level", byte_level), ("sentence_piece", sentence_piece)):
        tokenizer = make()
        goldens[name] = encodings(tokenizer)
        write(f"{name}.json", json.loads(tokenizer.to_str()))
        write_gguf(name, tokenizer)
    write("encodings.json", goldens, indent=1)
    write("chats.json", chats(), indent=1)


main()
