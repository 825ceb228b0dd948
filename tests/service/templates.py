"""Control tokens of chat templates, and hostile texts made of them."""

from __future__ import annotations

from hypothesis import strategies as st

#: Control tokens of chat templates, by model family.
TOKENS = (
    "[THINK] [/THINK] [ARGS] [IMG] [IMG_BREAK] [TOOL_CALLS] [INST] [/INST] [SYSTEM_PROMPT] [control_8] "  # Mistral
    "[BOS] [EOT] [EOS] [PAD] "  # Kimi
    "[|user|] [|assistant|] [|endofturn|] "  # EXAONE
    "]~b] ]~!b[ [e~[ ]<]image[>[ "  # MiniMax
    "<bos> <unused12> <start_of_turn> <end_of_turn> "  # Gemma
    "<s> </s> <<SYS>> <</SYS>> <|eot_id|> <|start_header_id|> <|reserved_special_token_0|> "  # Llama
    "<\uff5cUser\uff5c> <\uff5cend\u2581of\u2581sentence\uff5c> "  # DeepSeek
    "<fim_prefix> <fim-suffix> <|fim_middle|> <EOT> "  # StarCoder, Qwen, CodeLlama
    "<|im_start|> <|im_end|> <|endoftext|> <think> </think> <tool_call> "  # ChatML, Qwen
    "<user> </user> <assistant> </assistant> <system> "
    "<|channel|> <|message|> <|return|> "  # harmony
    "<sop> [gMASK] [sMASK] <|observation|> "  # GLM
    "<|START_OF_TURN_TOKEN|> <|CHATBOT_TOKEN|> "  # Cohere
    "<|system|> <|end|> "  # Phi
    "<|start_of_role|> <|end_of_role|> "  # Granite
    "<extra_id_0> <0x0A> <seed:bos> [CLS] [MASK] >>QUESTION<< <reserved_106>"
).split()
PIECES = [
    *(
        "\n",
        "\r",
        "\u2028",
        "\u0085",
        "\x0b",
        "\0",
        " ",
        "<",
        ">",
        "|",
        "/",
        "[",
        "]",
        "~",
        "\uff1c",
        "\uff5c",
        "<|",
        "|>",
    ),
    *("- (profile) ", "im_end", "user", "INST", "b]", "[e", "_"),
    *TOKENS,
    *(token[:-1] for token in TOKENS),
]
HOSTILE = st.lists(st.sampled_from(PIECES) | st.text(max_size=3), max_size=8).map("".join)


def control_tokens(text: str) -> list[str]:
    return [token for token in TOKENS if token in text]
