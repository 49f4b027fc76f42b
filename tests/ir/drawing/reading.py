"""Every format read back into nodes, edges and boxes, by readers that know nothing of who wrote it."""

import html
import re
import xml.etree.ElementTree as ET

SVG = "{http://www.w3.org/2000/svg}"


class Dot:
    """DOT source read back: nodes with their attributes and the boxes around them, and edges."""

    TOKEN = re.compile(r'\s*("(?:[^"\\]|\\.)*"|->|[{}\[\];=,]|[^\s{}\[\];=,"]+)')

    def __init__(self, source):
        self.nodes, self.boxes, self.edges = {}, {}, []
        tokens, position = [], 0
        while position < len(source.rstrip()):
            match = self.TOKEN.match(source, position)
            assert match, f"not DOT: {source[position : position + 40]!r}"
            tokens.append(match[1])
            position = match.end()
        assert tokens[:3] == ["digraph", "model", "{"]
        assert tokens.count("{") == tokens.count("}")
        self.read(tokens[3:], [])

    def read(self, tokens, path):
        while tokens:
            head = tokens.pop(0)
            if head == "}":
                path = path[:-1]
            elif head == "subgraph":
                path = [*path, tokens.pop(0)]
                assert tokens.pop(0) == "{"
            elif head == ";":
                continue
            elif head == "label":
                tokens.pop(0)
                assert tuple(path) not in self.boxes
                self.boxes[tuple(path)] = unquoted(tokens.pop(0))
            elif tokens[0] == "=":
                del tokens[:2]
            elif tokens[0] == "->":
                tokens.pop(0)
                self.edges.append((unquoted(head), unquoted(tokens.pop(0)), self.attributes(tokens)))
            elif head in ("node", "graph", "edge"):
                self.attributes(tokens)
            else:
                assert unquoted(head) not in self.nodes
                self.nodes[unquoted(head)] = (self.attributes(tokens), tuple(path))

    @staticmethod
    def attributes(tokens):
        found = {}
        if tokens[0] == "[":
            tokens.pop(0)
            while (name := tokens.pop(0)) != "]":
                if name != ",":
                    assert tokens.pop(0) == "="
                    found[name] = unquoted(tokens.pop(0))
        return found

    def box_of(self, node):
        """The labels of the boxes around a node, outermost first."""
        path = self.nodes[node][1]
        return [self.boxes[path[: i + 1]] for i in range(len(path))]


def unquoted(token):
    """A quoted string as Graphviz writes it: a backslash before n is a new line, and entities of HTML are read."""
    if token[0] != '"':
        return token
    return html.unescape(re.sub(r"\\(.)", lambda m: "\n" if m[1] == "n" else m[1], token[1:-1]))


class Svg:
    """An SVG read back: lines of text of each node with its kind, of each box, and the edges."""

    def __init__(self, source):
        root = ET.fromstring(source)
        assert root.tag == f"{SVG}svg"
        self.nodes, self.boxes, self.edges, self.dashed = [], [], [], set()
        for group in root.iter(f"{SVG}g"):
            kind, *classes = group.get("class", "").split() or [""]
            lines = [text.text.replace("\xa0", " ") for text in group.iter(f"{SVG}text") if text.text]
            title = group.findtext(f"{SVG}title")
            if kind == "node":
                self.nodes.append((classes[0], title, lines))
            elif kind == "cluster":
                self.boxes.append(" ".join(lines))
            elif kind == "edge":
                self.edges.append(title)
                if any("stroke-dasharray" in path.attrib for path in group.iter(f"{SVG}path")):
                    self.dashed.add(title)


class Mermaid:
    """A flowchart read back, line by line: Mermaid's own syntax has nothing that goes over several."""

    NODE = re.compile(r'(n\d+)(?:\(\[|\{\{|\[\[|\[\(|\(|\[)"(.*)"(?:\]\)|\}\}|\]\]|\)\]|\)|\]):::(\w+)')
    EDGE = re.compile(r"(n\d+) (-->|-\.->) (n\d+)")
    BOX = re.compile(r'subgraph (\w+)\["(.*)"\]')

    def __init__(self, source):
        first, *lines = source.splitlines()
        assert first == "flowchart TB"
        self.nodes, self.boxes, self.edges, self.classes, path = {}, {}, [], set(), []
        for line in map(str.strip, lines):
            if found := self.NODE.fullmatch(line):
                name, label, kind = found.groups()
                assert name not in self.nodes
                self.nodes[name] = (kind, [written(part) for part in label.split("<br/>")], tuple(path))
            elif found := self.EDGE.fullmatch(line):
                tail, arrow, head = found.groups()
                self.edges.append((tail, head, arrow == "-.->"))
            elif found := self.BOX.fullmatch(line):
                path.append(found[1])
                assert tuple(path) not in self.boxes
                self.boxes[tuple(path)] = written(found[2])
            elif line == "end":
                path.pop()
            else:
                self.classes.add(re.fullmatch(r"classDef (\w+) [\w:#,\- ]+", line)[1])
        assert not path


def written(label):
    """A label as Mermaid writes it: ``#60;`` is a character by its number."""
    assert not set(re.sub(r"#\d+;", "", label)) & set("<>&\"`'#;%\\*_{}|@$^!?")
    return re.sub(r"#(\d+);", lambda m: chr(int(m[1])), label)
