"""What a patch writes, where, and in which order with others: padding, caches, gradients, heads, real prompts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import eager_oracle
import pytest
import tiny_families
import torch
from made_adapters import live
from recorded_sites import refused
from shared_material import real_model, shared
from tiny_families import FAMILIES, random_ids
from torch import Tensor

import iclprobe
from iclprobe import Capture, CapturePlan, UserError, capture, patch, tap
from iclprobe.hooks.plan import SITES
from iclprobe.models.loading import load_model

SOME = ["llama", "gpt2", "gemma2", "gpt_oss", "opt", "gptj", "bloom", "falcon", "gpt_neo"]
some_families = pytest.mark.parametrize("name", SOME)
A, B = (torch.tensor([random_ids(12, 2 * each + run) for each in (1, 2)]) for run in (0, 1))
EVERYWHERE = CapturePlan(sites=("residual",), positions="all")


def logits(model: Any, ids: Tensor, **others: Any) -> Tensor:
    with torch.no_grad():
        return model(input_ids=ids, use_cache=False, **others).logits


def recorded(model: Any, plan: CapturePlan, ids: Tensor, **others: Any) -> Capture:
    with tap(model, plan) as recorder:
        logits(model, ids, **others)
    return recorder.capture()


def close(got: Tensor, want: Tensor, tolerance: float = 1e-5) -> bool:
    return bool((got - want).abs().max() <= tolerance * want.abs().max())


def padded(sequences: list[list[int]], side: str) -> dict[str, Tensor]:
    width = max(len(ids) for ids in sequences)
    rows = [ids + [0] * (width - len(ids)) for ids in sequences]
    if side == "left":
        rows = [[0] * (width - len(ids)) + ids for ids in sequences]
    mask = torch.tensor(rows).ne(0).long()
    return {"input_ids": torch.tensor(rows), "attention_mask": mask}


@pytest.mark.parametrize("name", ["llama", "gpt2", "mistral", "gemma2", "opt", "gptj", "falcon"])
@pytest.mark.parametrize(("of", "into"), [("left", "right"), ("right", "left")])
def test_positions_count_the_tokens_of_each_prompt_whatever_the_padding(
    name: str, of: str, into: str
) -> None:
    model: Any = tiny_families.build(name)

    def batch(run: int, side: str) -> dict[str, Tensor]:
        given = padded([random_ids(length, 10 * length + run) for length in (12, 17)], side)
        return {**given, "position_ids": (given["attention_mask"].cumsum(1) - 1).clamp(min=0)}

    def real(given: dict[str, Tensor], found: Tensor) -> Tensor:
        return found[given["attention_mask"].bool()]

    one, other = batch(0, of), batch(1, into)
    with torch.no_grad():
        wanted = real(one, model(**one).logits)
        with tap(model, EVERYWHERE) as recorder:
            model(**one)
        with patch(model, EVERYWHERE, recorder.capture()):
            assert close(real(other, model(**other).logits), wanted)
        for positions in ("last_prompt_token", (0, -2)):
            plan = CapturePlan(sites=("residual", "keys"), positions=positions)
            with tap(model, plan) as recorder:
                model(**one)
            with patch(model, plan, recorder.capture()), tap(model, plan) as inside:
                model(**other)
            for site in plan.sites:
                assert close(getattr(inside.capture(), site), getattr(recorder.capture(), site))


def test_a_function_is_given_what_the_model_computed_of_each_layer_in_its_dtype() -> None:
    model: Any = tiny_families.fresh("llama").bfloat16()
    given: dict[Any, Tensor] = {}

    def keep(site: str, layer: int, computed: Tensor) -> Tensor:
        given[site, layer] = computed
        return computed

    plan = CapturePlan(sites=SITES, layers=(2, 0), positions=(1, -1))
    own, untouched = recorded(model, plan, B), logits(model, B)
    with patch(model, plan, keep):
        assert torch.equal(logits(model, B), untouched)
    assert list(given) and set(given) == {(site, layer) for site in SITES for layer in (0, 2)}
    for (site, layer), tensor in given.items():
        assert torch.equal(tensor.float(), getattr(own, site)[:, (2, 0).index(layer)])
        exact = site in ("scores", "pattern", "head_output")
        assert tensor.dtype == (torch.float32 if exact else torch.bfloat16)


@some_families
def test_values_of_one_prompt_are_written_into_all(name: str) -> None:
    model = tiny_families.build(name)
    plan = CapturePlan(sites=("queries", "residual"), layers=(1,), positions=(2, 5))
    own = recorded(model, plan, A)
    every = {site: getattr(own, site)[:1].expand(2, *getattr(own, site).shape[1:]) for site in plan.sites}
    one = {site: tensor[:1] for site, tensor in every.items()}
    with patch(model, plan, every):
        wanted = logits(model, B)
    with patch(model, plan, one):
        assert torch.equal(logits(model, B), wanted)
    with patch(model, plan, {site: tensor.squeeze(0)[None] for site, tensor in one.items()}):
        assert torch.equal(logits(model, B), wanted)


def test_a_capture_may_hold_more_layers_and_sites_than_are_written() -> None:
    model = tiny_families.build("llama")
    other = recorded(model, CapturePlan(sites=SITES, layers=(2, 0, 1), positions="all"), A)
    for layer in range(3):
        plan = CapturePlan(sites=("residual",), layers=(layer - 3,), positions="all")
        with patch(model, plan, other), tap(model, plan) as inside:
            logits(model, B)
        assert other.residual is not None
        assert torch.equal(inside.capture().residual[:, 0], other.residual[:, other.layers.index(layer)])  # type: ignore[index]


@pytest.mark.parametrize("name", ["llama", "gpt_oss", "gptj", "bloom", "falcon", "falcon_alibi"])
def test_a_key_that_one_head_must_not_see_is_out_of_that_head_s_pattern_alone(name: str) -> None:
    """Its score is minus infinity; the oracle is the pattern without that key, renormalised."""
    model = tiny_families.build(name)
    plan = CapturePlan(sites=("scores", "pattern"), layers=(1,), positions=(-1,))
    own: Any = recorded(model, plan, B)
    key = int(own.pattern[0, 0, 0, 1].argmax())

    def blind(site: str, layer: int, scores: Tensor) -> Tensor:
        scores[:, :, 1, key] = float("-inf")
        return scores

    writes = CapturePlan(sites=("scores",), layers=(1,), positions=(-1,))
    with patch(model, writes, blind), tap(model, plan) as inside:
        changed = logits(model, B)
    wanted = own.pattern.clone()
    wanted[..., 1, key] = 0.0
    if name != "gpt_oss":
        wanted[..., 1, :] /= wanted[..., 1, :].sum(dim=-1, keepdim=True)
    else:
        # The sink takes part in the normalisation.
        wanted[..., 1, :] /= 1.0 - own.pattern[..., 1, key : key + 1]
    assert close(inside.capture().pattern, wanted)  # type: ignore[arg-type]
    by_pattern = CapturePlan(sites=("pattern",), layers=(1,), positions=(-1,))
    with patch(model, by_pattern, {"pattern": wanted}):
        assert close(logits(model, B), changed)
    assert not close(logits(model, B), changed)


@pytest.mark.parametrize("name", ["llama", "gpt2", "gpt_oss", "falcon"])
def test_eager_attention_is_written_like_the_default_and_shows_its_pattern_as_written(name: str) -> None:
    eager: Any = tiny_families.fresh(name)
    eager.set_attn_implementation("eager")
    plan = CapturePlan(sites=("pattern",), layers=(1,), positions=(3,))
    drawn = torch.rand(2, 1, 1, 4, 12, generator=torch.Generator().manual_seed(0)) * (torch.arange(12) < 4)
    with patch(tiny_families.build(name), plan, {"pattern": drawn}):
        wanted = logits(tiny_families.build(name), B)
    with torch.no_grad(), patch(eager, plan, {"pattern": drawn}):
        assert close(logits(eager, B), wanted)
        if name == "falcon":
            return  # asked for its patterns, it masks nothing
        shown = eager(input_ids=B, use_cache=False, output_attentions=True).attentions
    assert torch.equal(shown[1][:, :, 3], drawn[:, 0, 0])


@some_families
def test_what_was_opened_later_acts_later(name: str) -> None:
    model = tiny_families.build(name)
    for site in SITES:
        if site in refused(name) or site == "head_output":
            continue
        plan = CapturePlan(sites=(site,), layers=(1,), positions=(4, -1))
        own = getattr(recorded(model, plan, B), site)

        def half(site: str, layer: int, computed: Tensor) -> Tensor:
            return computed * 0.5

        def more(site: str, layer: int, computed: Tensor) -> Tensor:
            return computed + 0.25

        with (
            tap(model, plan) as first,
            patch(model, plan, half),
            tap(model, plan) as second,
            patch(model, plan, more),
            tap(model, plan) as third,
        ):
            logits(model, B)
        visible = getattr(third.capture(), "visible", None)
        last = own * 0.5 + 0.25 * (1.0 if visible is None else visible)
        for tapped, wanted in ((first, own), (second, own * 0.5), (third, last)):
            assert close(getattr(tapped.capture(), site), wanted), site


@pytest.mark.parametrize("name", ["llama", "gpt_oss", "gptj", "bloom", "falcon"])
def test_a_score_that_is_written_changes_the_pattern_and_not_the_product_of_queries_and_keys(
    name: str,
) -> None:
    model = tiny_families.build(name)
    scores = CapturePlan(sites=("scores",), layers=(1,), positions=(-1,))
    both = scores.model_copy(update={"sites": ("scores", "pattern")})
    space: Any = "raw" if name in ("llama", "gpt_oss") else "softmax_input"
    own: Any = recorded(model, both, B)
    before: Any = recorded(model, scores.model_copy(update={"score_space": space}), B)
    new = own.scores.roll(1, dims=0)
    upstream = scores.model_copy(update={"score_space": space})
    with patch(model, scores, {"scores": new}), tap(model, both) as inside, tap(model, upstream) as product:
        logits(model, B)
    got: Any = inside.capture()
    assert close(got.scores, new)
    assert close(got.pattern, own.pattern.roll(1, dims=0))
    assert close(product.capture().scores, before.scores if space == "raw" else new)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", list(FAMILIES))
def test_gradients_flow_through_what_is_written(name: str) -> None:
    """Along a direction they are what the loss differs by; one site is written in place, which autograd must bear."""
    model: Any = tiny_families.build(name)
    asked = SITES if name in SOME else ("residual_middle", "residual")
    sites: Any = [site for site in asked if site not in refused(name)]
    plan = CapturePlan(sites=sites, layers=(1,), positions=(3, -2))
    own = recorded(model, plan, B)
    generator = torch.Generator().manual_seed(7)
    for site in sites:
        one = CapturePlan(sites=(site,), layers=(1,), positions=(3, -2))
        computed = getattr(own, site)[:, 0]
        shift = torch.randn(computed.shape, generator=generator) * 0.1 * computed.abs().max()

        def loss(size: Tensor, shift: Tensor = shift, one: CapturePlan = one) -> Tensor:
            with patch(model, one, lambda site, layer, given: given + size * shift):
                return model(input_ids=B, use_cache=False).logits.log_softmax(-1)[:, -1, :5].sum()

        size = torch.zeros((), requires_grad=True)
        (slope,) = torch.autograd.grad(loss(size), size)
        with torch.no_grad():
            step = 2e-3
            wanted = (loss(torch.tensor(step)) - loss(torch.tensor(-step))) / (2 * step)
        assert abs(slope - wanted) <= 3e-2 * max(abs(wanted), 1.0), (site, slope, wanted)


@some_families
def test_gradients_of_weights_are_those_without_a_patch_that_changes_nothing(name: str) -> None:
    model: Any = tiny_families.fresh(name)
    plan = CapturePlan(sites=tuple(site for site in SITES if site not in refused(name)), positions=(2, -1))

    def gradients() -> list[Tensor]:
        model.zero_grad()
        model(input_ids=B, labels=B).loss.backward()
        return [parameter.grad.clone() for parameter in model.parameters() if parameter.grad is not None]

    without = gradients()
    with patch(model, plan, lambda site, layer, computed: computed):
        within = gradients()
    largest = max(float(each.abs().max()) for each in without)
    assert all(
        (one - other).abs().max() <= 1e-5 * largest for one, other in zip(within, without, strict=True)
    )


@some_families
def test_each_step_of_generation_is_written_at_its_own_tokens(name: str) -> None:
    model: Any = tiny_families.build(name)
    layer = eager_oracle.decoder_layers(model)[1]
    added = 3.0 * torch.randn(model.config.hidden_size, generator=torch.Generator().manual_seed(2))
    settings = {"max_new_tokens": 4, "min_new_tokens": 4, "do_sample": False}
    batch = {"input_ids": B, "attention_mask": torch.ones_like(B)}

    def literal(module: Any, args: Any, output: Any) -> Any:
        first = (output[0] if isinstance(output, tuple) else output).clone()
        first[:, -1] += added
        return (first, *output[1:]) if isinstance(output, tuple) else first

    handle = layer.register_forward_hook(literal)
    wanted = model.generate(**batch, **settings)
    handle.remove()
    plan = CapturePlan(sites=("residual",), layers=(1,))
    with patch(model, plan, lambda site, layer, computed: computed + added):
        assert torch.equal(model.generate(**batch, **settings), wanted)
    assert not torch.equal(model.generate(**batch, **settings), wanted)


@pytest.mark.parametrize("name", ["llama", "gemma2", "gpt2"])
def test_a_cache_is_attended_to_as_written_and_kept_as_computed(name: str) -> None:
    from transformers import StaticCache

    model: Any = tiny_families.build(name)
    sites: Any = ("queries", "keys", "values", "scores")
    plan = CapturePlan(sites=sites, layers=(0, 1), positions=(2, -1))
    other = recorded(model, plan, A)
    with patch(model, plan, other):
        wanted = logits(model, B)
        with torch.no_grad():
            cache = StaticCache(model.config, max_cache_len=40)
            static = model(input_ids=B, past_key_values=cache).logits
            grown = model(input_ids=B, use_cache=True)
    assert close(static, wanted)
    assert close(grown.logits, wanted)
    with torch.no_grad():
        untouched = model(input_ids=B, use_cache=True).past_key_values
    assert torch.equal(grown.past_key_values.layers[0].keys, untouched.layers[0].keys)
    with torch.no_grad():
        one, other = (model(input_ids=B[:, :-3], use_cache=True).past_key_values for _ in range(2))
        later = CapturePlan(sites=("keys", "values"), positions="all", layers=(1,))
        with tap(model, later) as behind:
            model(input_ids=A[:, -3:], past_key_values=one)
        with patch(model, later, behind.capture()), tap(model, later) as inside:
            model(input_ids=B[:, -3:], past_key_values=other)
    assert torch.equal(inside.capture().keys, behind.capture().keys)  # type: ignore[arg-type]


def test_heads_of_another_run_are_exchanged_one_by_one() -> None:
    model = tiny_families.build("llama")
    plan = CapturePlan(sites=("head_output", "attention_output"), layers=(1,), positions=(-1,))
    own, other = recorded(model, plan, B), recorded(model, plan, A)
    assert own.head_output is not None and other.head_output is not None and own.attention_output is not None
    for head in range(4):
        new = own.head_output.clone()
        new[:, :, :, head] = other.head_output[:, :, :, head]
        with patch(
            model, CapturePlan(sites=("head_output",), layers=(1,), positions=(-1,)), {"head_output": new}
        ):
            got = recorded(model, plan, B).attention_output
        assert got is not None
        wanted = own.attention_output + (other.head_output - own.head_output)[:, :, :, head]
        assert close(got, wanted)
        assert not torch.equal(got, own.attention_output)


def test_a_capture_inside_a_patch_is_of_the_patched_model() -> None:
    model = tiny_families.build("llama")
    prompts = tiny_families.prompts("llama")
    direction = torch.randn(32, generator=torch.Generator().manual_seed(4))
    plan = CapturePlan(sites=("residual",), layers=(0,))
    plain: Any = capture(model, prompts, EVERYWHERE)
    with patch(model, plan, lambda site, layer, computed: computed + direction):
        steered: Any = capture(model, prompts, EVERYWHERE)
    for index, ids in enumerate(prompts):
        moved = (steered.residual - plain.residual)[index, 0]
        assert close(moved[len(ids) - 1], direction, 1e-4)
        assert not moved[: len(ids) - 1].any()


def test_names_of_parts_of_a_prompt_mean_the_tokens_that_the_capture_says() -> None:
    model = load_model("pocket", device="cpu")
    texts, others = ["the cat sat down", "a big dog ran"], ["one cat ran away now", "the old dog sat here"]
    spans: Any = [{"subject": "cat"}, {"subject": "dog"}]
    plan = CapturePlan(sites=("residual",), layers=(1,), positions="span:subject")
    got = capture(model, texts, plan, spans=spans)
    assert got.row_tokens is not None and got.rows is not None
    encoded = [model.require_tokenizer()(text).input_ids for text in others]
    batch = padded(encoded, "left")
    with patch(model, plan, got), tap(model, EVERYWHERE) as inside, torch.no_grad():
        model.module(**batch)
    with tap(model, EVERYWHERE) as outside, torch.no_grad():
        model.module(**batch)
    patched, plain = inside.capture().residual, outside.capture().residual
    assert patched is not None and plain is not None and got.residual is not None
    for index in range(2):
        rows = got.row_tokens[index][got.rows[index]]
        assert torch.equal(patched[index, 1, rows], got.residual[index, 0, got.rows[index]])
        before = int(rows.min())
        assert torch.equal(patched[index, 1, :before], plain[index, 1, :before])
    with (
        pytest.raises(UserError, match="knows its prompts"),
        patch(model, plan, lambda site, layer, given: given),
    ):
        pass


def test_a_live_peft_model_is_written_however_it_is_called() -> None:
    from peft import LoraConfig

    wrapped: Any = live(tiny_families.fresh("llama"), LoraConfig(r=2, target_modules=["q_proj", "o_proj"]))
    plan = CapturePlan(sites=("attention_output", "head_output", "residual_middle"), positions="all")
    other, untouched = recorded(wrapped, plan, A), logits(wrapped, B)
    for call in (wrapped, wrapped.base_model.model):
        with patch(wrapped, plan, other), tap(wrapped, plan) as inside:
            logits(call, B)
        assert close(inside.capture().residual_middle, other.residual_middle)  # type: ignore[arg-type]
        assert torch.equal(logits(call, B), untouched)


def test_what_is_compiled_runs_patched_as_it_was_written() -> None:
    model: Any = tiny_families.fresh("llama")
    compiled: Any = torch.compile(model, backend="eager")
    other = recorded(model, EVERYWHERE, A)
    logits(compiled, B)
    with patch(compiled, EVERYWHERE, other):
        assert close(logits(compiled, B), logits(tiny_families.build("llama"), A))


def _answers(place: str, task: iclprobe.Task) -> None:
    """The last token's stream of the in-context run gives the zero-shot run its answer, from the top layer on."""
    model = load_model(place, device="cpu", dtype="float32")
    shown = iclprobe.draw_demonstrations(task, 4, 0)
    prompts = iclprobe.build_prompts(
        model.require_tokenizer(), task.template, shown, task.validation[:3], model.context_length
    )
    plan = CapturePlan(sites=("residual",))
    icl = capture(model, prompts.icl, plan, share_prefix=False, batch_size=1)
    changed = []
    for index in range(prompts.zero_shot.n):
        zero_shot, in_context = (
            torch.tensor([each.full_ids(index)]) for each in (prompts.zero_shot, prompts.icl)
        )
        wanted = logits(model.module, in_context)[:, -1]
        with patch(model, plan.model_copy(update={"layers": (-1,)}), icl.select(torch.tensor([index]))):
            got = logits(model.module, zero_shot)
        assert close(got[:, -1], wanted, 1e-4)
        assert torch.equal(got[:, :-1], logits(model.module, zero_shot)[:, :-1])
        changed.append(not close(logits(model.module, zero_shot)[:, -1], wanted, 1e-2))
    assert all(changed)


def test_the_embedded_model_answers_as_in_context() -> None:
    _answers("pocket", iclprobe.load_task("pocket-topic-code"))


@pytest.mark.real
@pytest.mark.parametrize("name", ["smollm2-135m-instruct", "gemma3-270m"])
def test_a_real_model_answers_as_in_context(name: str) -> None:
    task = iclprobe.load_task("sst2", data=str(shared("data/sst2")), template="shen")
    _answers(str(real_model(name)), task)


def test_the_example_of_the_docs_runs() -> None:
    text = (Path(__file__).parents[2] / "docs" / "patching.md").read_text(encoding="utf-8")
    found: dict[str, Any] = {}
    exec(text.split("```python\n")[1].split("```")[0], found)
    plain = found["model"].module(found["ids"]("the bird")).logits
    assert not close(found["patched"], plain) and not close(found["silenced"], plain)


BAD: list[tuple[Any, Any, str]] = [
    (
        EVERYWHERE,
        {"residual": torch.zeros(2, 3, 12, 31)},
        r"residual for layer 0 are \(2, 12, 31\).*\(2, 12, 32\)",
    ),
    (EVERYWHERE, {"residual": torch.zeros(3, 3, 12, 32)}, r"residual for layer 0 are \(3, 12, 32\)"),
    (EVERYWHERE, {"residual": torch.zeros(2, 2, 12, 32)}, r"there are 3 layers"),
    (EVERYWHERE, {"residual": torch.zeros(2, 3, 12, 32, dtype=torch.long)}, "floating-point"),
    (EVERYWHERE, {"residual": [1.0]}, "floating-point"),
    (EVERYWHERE, {}, "values of nothing"),
    (EVERYWHERE, {"keys": torch.zeros(2, 3, 12, 2, 8)}, "writes residual, and values of keys"),
    (EVERYWHERE, [1.0], "not a list"),
    (EVERYWHERE, lambda site, layer, given: None, r"gave a NoneType for residual of layer 0"),
    (
        EVERYWHERE,
        lambda site, layer, given: given[:1],
        r"gave \(1, 12, 32\) for residual of layer 0.*\(2, 12, 32\)",
    ),
    (
        CapturePlan(sites=("residual",), positions=(-1, 11)),
        lambda site, layer, given: given,
        "one token .* twice",
    ),
    (CapturePlan(sites=("residual",), positions=(12,)), lambda site, layer, given: given, "outside a prompt"),
    (CapturePlan(sites=("residual",), positions="query"), lambda site, layer, given: given, "'query' stands"),
    (CapturePlan(sites=("scores",), score_space="raw"), lambda site, layer, given: given, "'raw'"),
]


@pytest.mark.parametrize(("plan", "values", "message"), BAD, ids=range(len(BAD)))
def test_values_that_do_not_fit_are_refused_by_site_layer_and_shape(
    plan: Any, values: Any, message: str
) -> None:
    model = tiny_families.build("llama")
    with pytest.raises(UserError, match=message), patch(model, plan, values):
        logits(model, B)


def test_captures_that_do_not_fit_are_refused() -> None:
    model = tiny_families.build("llama")
    short, long = (
        padded([random_ids(5, 1), random_ids(9, 2)], "right"),
        padded([random_ids(9, 3)] * 2, "right"),
    )
    plan = CapturePlan(sites=("residual", "scores"), layers=(0,), positions="all")
    some = recorded(model, plan, short["input_ids"], attention_mask=short["attention_mask"])
    with (
        pytest.raises(UserError, match="prompt 0 of the forward has more tokens"),
        patch(model, CapturePlan(sites=("residual",), layers=(0,), positions="all"), some),
    ):
        logits(model, long["input_ids"])
    with (
        pytest.raises(UserError, match="run as many prompts"),
        patch(model, CapturePlan(sites=("residual",), layers=(0,), positions="all"), some),
    ):
        logits(model, B)
    with (
        pytest.raises(UserError, match=r"holds layers \[0\] and not \[1, 2\]"),
        patch(model, EVERYWHERE, some),
    ):
        pass
    with (
        pytest.raises(UserError, match="values of nothing"),
        patch(model, CapturePlan(sites=("keys",), layers=(0,)), some),
    ):
        pass
    raw = capture(model, [random_ids(5, 1)], CapturePlan(sites=("scores",), score_space="raw"))
    with (
        pytest.raises(UserError, match="in the space 'raw'"),
        patch(model, CapturePlan(sites=("scores",)), raw),
    ):
        pass


def test_rows_that_would_not_be_what_was_asked_for_are_refused() -> None:
    model: Any = tiny_families.fresh("llama")
    model.config.attention_dropout = 0.1
    for layer in model.model.layers:
        layer.self_attn.attention_dropout = 0.1
    model.train()
    plan = CapturePlan(sites=("pattern",))
    with pytest.raises(UserError, match="at random"), patch(model, plan, lambda site, layer, given: given):
        logits(model, B)
    model.activation_checkpointing_enable()
    with (
        pytest.raises(UserError, match="gradient checkpointing"),
        patch(model, EVERYWHERE, lambda site, layer, x: x),
    ):
        model(input_ids=B)
