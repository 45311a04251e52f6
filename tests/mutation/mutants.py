"""Every small change of one source file that we ask the tests to notice."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from types import CodeType

_COMPARISONS: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}
_OPERATORS: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.FloorDiv,
    ast.Pow: ast.Mult,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
    ast.BitXor: ast.BitAnd,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
}
_PAIRS = (
    ("min", "max"),
    ("amin", "amax"),
    ("argmin", "argmax"),
    ("any", "all"),
    ("floor", "ceil"),
    ("startswith", "endswith"),
    ("lstrip", "rstrip"),
    ("removeprefix", "removesuffix"),
    ("zeros", "ones"),
    ("tril", "triu"),
    ("mean", "sum"),
    ("append", "extend"),
)
_NAMES = dict(_PAIRS) | {right: left for left, right in _PAIRS}
# Fields that nothing reads at run time: annotations are never evaluated.
_UNREAD = {"annotation", "returns", "type_params"}


@dataclass(frozen=True)
class Mutant:
    """One change.

    Attributes:
        lines: First and last line of the statement that was changed (of a compound statement its head).
        line: Text of the line on which the change begins.
        change: `before -> after` of the piece that was changed, numbered where a file has the same change of the
            same line more than once.
        in_function: Whether the change is in the body of a function, which runs only when it is called.
        code: The changed module, compiled.
    """

    lines: tuple[int, int]
    line: str
    change: str
    in_function: bool
    code: CodeType


@dataclass(frozen=True)
class _Place:
    """Where the walk is: the statement around it, and whether inside a function's body."""

    lines: tuple[int, int]
    in_function: bool


def mutants(source: str, filename: str) -> Iterator[Mutant]:
    """Return all changes of a file, in the order of its lines."""
    tree = ast.parse(source)
    texts = source.splitlines()
    seen: Counter[tuple[str, str]] = Counter()

    def changed(node: ast.AST, before: str, after: str, place: _Place) -> Mutant:
        line = texts[getattr(node, "lineno", place.lines[0]) - 1].strip()
        change = f"{before} -> {after}"
        seen[line, change] += 1
        if seen[line, change] > 1:
            change += f" #{seen[line, change]}"
        code = compile(ast.fix_missing_locations(tree), filename, "exec", dont_inherit=True)
        return Mutant(place.lines, line, change, place.in_function, code)

    def visit(node: ast.AST, place: _Place) -> Iterator[Mutant]:
        if isinstance(node, ast.stmt):
            place = _Place(_lines(node), place.in_function)
        if _says_nothing_at_run_time(node):
            return
        for field, value in ast.iter_fields(node):
            if field in _UNREAD:
                continue
            if isinstance(value, list):
                yield from visit_list(node, field, value, place)
            elif isinstance(value, ast.AST):
                for new in _replacements(value, node, field):
                    setattr(node, field, new)
                    yield changed(value, _text(value), _text(new), place)
                    setattr(node, field, value)
                yield from visit(value, place)

    def visit_list(node: ast.AST, field: str, items: list[ast.AST], place: _Place) -> Iterator[Mutant]:
        if field == "body" and isinstance(node, ast.FunctionDef):
            place = _Place(place.lines, True)
        for index, item in enumerate(items):
            if not isinstance(item, ast.AST) or _is_text(item) or _says_nothing_at_run_time(item):
                continue
            here = _Place(_lines(item), place.in_function) if isinstance(item, ast.stmt) else place
            if _is_droppable(node, field, items, index):
                del items[index]
                yield changed(item, _text(item), "(nothing)", here)
                items.insert(index, item)
            for new in _replacements(item, node, field):
                items[index] = new
                yield changed(item, _text(item), _text(new), here)
                items[index] = item
            yield from visit(item, place)

    return visit(tree, _Place((1, 1), False))


def _replacements(node: ast.AST, parent: ast.AST, field: str) -> Iterator[ast.AST]:
    match node:
        case ast.Constant(value=bool() as flag):
            yield ast.Constant(not flag)
        case ast.Constant(value=int() | float() as number):
            yield from (ast.Constant(number + 1), ast.Constant(number - 1))
        case ast.Constant(value=str() as text) if isinstance(parent, ast.Compare):
            yield ast.Constant(text + "XX")
        case ast.Compare(ops=[op, *rest]):
            for other in _COMPARISONS[type(op)]:
                yield ast.Compare(node.left, [other(), *rest], node.comparators)
        case ast.BinOp() if type(node.op) in _OPERATORS:
            yield ast.BinOp(node.left, _OPERATORS[type(node.op)](), node.right)
        case ast.AugAssign() if type(node.op) in _OPERATORS:
            yield ast.AugAssign(node.target, _OPERATORS[type(node.op)](), node.value)
        case ast.BoolOp():
            yield ast.BoolOp(ast.Or() if isinstance(node.op, ast.And) else ast.And(), node.values)
            for index in range(len(node.values)):
                rest = [*node.values[:index], *node.values[index + 1 :]]
                yield rest[0] if len(rest) == 1 else ast.BoolOp(node.op, rest)
        case ast.UnaryOp():
            yield node.operand
        case ast.Name(id=name) if name in _NAMES and isinstance(node.ctx, ast.Load):
            yield ast.Name(_NAMES[name], node.ctx)
        case ast.Attribute(attr=name) if name in _NAMES and isinstance(node.ctx, ast.Load):
            yield ast.Attribute(node.value, _NAMES[name], node.ctx)
        case ast.Break():
            yield ast.Continue()
        case ast.Continue():
            yield ast.Break()
        case ast.Raise() | ast.Expr(value=ast.Call() | ast.Yield() | ast.YieldFrom()):
            yield ast.Pass()
        case ast.Assign(targets=[ast.Attribute() | ast.Subscript()]):
            yield ast.Pass()
        case ast.Slice():
            if node.lower is not None:
                yield ast.Slice(None, node.upper, node.step)
            if node.upper is not None:
                yield ast.Slice(node.lower, None, node.step)
    if field == "test" and not isinstance(node, ast.Compare | ast.BoolOp | ast.UnaryOp):
        yield ast.UnaryOp(ast.Not(), node)  # type: ignore[arg-type]
    if field == "iter":
        yield ast.Tuple([], ast.Load())
    if field == "type" and isinstance(parent, ast.ExceptHandler):
        yield ast.Tuple([], ast.Load())


def _is_droppable(node: ast.AST, field: str, items: list[ast.AST], index: int) -> bool:
    """Whether a list may lose an item: a keyword argument, an option, a filter, a decorator."""
    if field == "keywords" and isinstance(node, ast.Call):
        return True
    if field == "elts" and isinstance(node, ast.Tuple | ast.List | ast.Set):
        return isinstance(items[index], ast.Constant) and len(items) > 1
    return field in ("ifs", "decorator_list")


def _says_nothing_at_run_time(node: ast.AST) -> bool:
    """Whether nothing but a mistake in the code beside it could show a change: an export, a type, an assertion."""
    match node:
        case ast.Assign(targets=[ast.Name(id="__all__")]) | ast.Subscript(value=ast.Name(id="Literal")):
            return True
        case (
            ast.keyword(arg="strict")
            | ast.Name(id="staticmethod")
            | ast.If(test=ast.Name(id="TYPE_CHECKING"))
        ):
            return True
    return False


def _lines(statement: ast.stmt) -> tuple[int, int]:
    body = getattr(statement, "body", None)
    last = body[0].lineno - 1 if body else statement.end_lineno or statement.lineno
    return statement.lineno, max(last, statement.lineno)


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _text(node: ast.AST) -> str:
    return " ".join(ast.unparse(node).split())
