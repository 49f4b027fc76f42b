"""Names that mean something to who draws, prints or shows them."""

HOSTILE = [
    "<script>", 'say "x"', "back\\slash", "ends in \\", "two\nlines", "a -> b", "]; }", "ünï", "node", "a.b/c$d",
    "%%{init: {'theme': 'dark'}}%%", "#quot;", "#35;", "`", "end", "a\x1b[31mb", "</text><script>alert(1)</script>",
    "<img src=x onerror=alert(1)>", "🙂 模型", "\u202eright to left", "x" * 300, "&amp;", "&bogus;", "\\N", "%1", "n0",
    "click n0 href", "\x00", "\ud800", "]]>", "[bold]rich[/bold]", "**md**", "$$x$$", "subgraph", " ", "'", "box0",
]  # fmt: skip
