//! Templates and what Python's Jinja2 makes of them, set up as `transformers` does. Texts with `\n` are template code.

use minijinja::{ErrorKind, Value, context};

use super::*;

fn try_render(source: &str, context: Value) -> Result<String, String> {
    let environment = environment("chat", source)?;
    environment.get_template("chat").unwrap().render(context).map_err(|error| in_words(&error))
}

fn render(source: &str) -> String {
    try_render(source, context! {}).unwrap()
}

fn all_render(cases: &[(&str, &str)]) {
    for (source, expected) in cases {
        assert_eq!(render(source), *expected, "{source}");
    }
}

#[test]
fn a_generation_block_is_what_it_holds_with_white_space_and_scope_of_a_block() {
    all_render(&[
        ("a\n  {% generation %}\n  b\n  {%- endgeneration %}\nc", "a\n  bc"),
        ("{%- generation -%} b {%- endgeneration -%} c", "bc"),
        ("{% set x = 1 %}{% generation %}{% set x = 2 %}{{ x }}{% endgeneration %}{{ x }}", "21"),
        (
            "{{ '{% generation %}' }}{# {% generation %} #}{% raw %}{% generation %}{% endraw %}",
            "{% generation %}{% generation %}",
        ),
        ("{% set generation = 1 %}{{ generation }}", "1"),
    ]);
    assert!(try_render("a\n{% generation %}b", context! {}).unwrap_err().contains("end"));
}

#[test]
fn percent_formats_texts_as_python_does() {
    all_render(&[
        ("{{ '%s is %d%%, %.2f' % ('a', 42, 1.5) }}", "a is 42%, 1.50"),
        ("{{ '%(x)s' % {'x': 'y'} }}", "y"),
        ("{{ '%5s|%-5s|%05d|%x' % ('a', 'b', 42, 255) }}", "    a|b    |00042|ff"),
        ("{{ '%s %s' % (none, true) }}", "None True"),
        ("{{ 'a' ~ '%s' % 'b' ~ 'c' }}", "abc"),
        ("{{ '%s' % 'b' + 'c' }}", "bc"),
        ("{{ '%s' % ' x '|trim ~ '!' }}", "x!"),
        ("{{ '%s %%}' % '}} %}' }}", "}} %} %}"),
        ("{% set a = '%s' % 'x' %}{{ a }}", "x"),
        ("{{ ['%s' % 'a', ('%s-%s' % ('b', 'c'))]|join }}", "ab-c"),
        ("{{ ('%' ~ 's') % 'x' }}", "x"),
    ]);
    assert!(try_render("\n{{ '%d' % 'x' }}", context! {}).unwrap_err().starts_with("line 2"));
    assert!(try_render("{{ '%s %s' % 'x' }}", context! {}).is_err());
    assert!(try_render("{{ [] % 2 }}", context! {}).unwrap_err().contains("%"));
}

#[test]
fn percent_of_numbers_is_a_remainder_and_binds_as_a_product() {
    all_render(&[
        ("{{ 7 % 3 }} {{ -7 % 3 }} {{ 7 % -3 }} {{ 7.5 % 2 }} {{ -7.5 % 2 }}", "1 2 -2 1.5 0.5"),
        ("{{ 7.5 % -2 }} {{ 4.0 % -2 }} {{ 5.5 % 0.1 }} {{ -1e-20 % 3 }}", "-0.5 -0.0 0.0999999999999997 3.0"),
        ("{{ 5.0 % (1e999) }} {{ (-5.0) % (1e999) }} {{ (0 - 9223372036854775808) % -1 }}", "5.0 inf 0"),
        ("{{ 9223372036854775808 % 10 }} {{ (0 - 9223372036854775809) % 10 }} {{ true % 2 }}", "8 1 1"),
        ("{{ 1.5e-1 % 1 }} {{ 2 % 1.5e-1 - 1e+0 }} {{ 3 - 25E-1 % 2 }}", "0.15 -0.95 2.5"),
        ("{{ 2 * 7 % 4 }} {{ 2 + 7 % 4 }} {{ 2 ** 3 % 5 }} {{ -2 % 5 * 3 }} {{ 17 % 10 % 4 }}", "2 5 3 9 3"),
        ("{{ not 4 % 2 }} {{ 'x' if 3 % 2 else 'y' }} {{ 3 % 2 == 1 and 4 % 2 == 0 }}", "True x True"),
        ("{% for i in [1, 2, 3] if i % 2 %}{{ i }}{% endfor %}", "13"),
        ("{% for i in [1, 2, 3] %}{{ loop.index0 % 2 == 0 }}{% endfor %}", "TrueFalseTrue"),
        ("{{ [1 % 2, 5 % 3, (8 % 5) % 2] }}", "[1, 2, 1]"),
        ("{{ {'a': 5 % 3}['a'] % 2 }}", "0"),
    ]);
    assert!(try_render("{{ 1 % 0 }}", context! {}).unwrap_err().contains("zero"));
}

#[test]
fn tojson_writes_what_json_dumps_writes() {
    let value = "{% set v = {'b': 1, 'a': ['é\"\\n', none, true, 1.5, 10000000000000000.0, 0.00001, '<&>', '😀']} %}";
    let render = |filter: &str| render(&format!("{value}{{{{ v|{filter} }}}}"));
    let plain = r#"{"b": 1, "a": ["é\"\n", null, true, 1.5, 1e+16, 1e-05, "<&>", "😀"]}"#;
    assert_eq!(render("tojson"), plain);
    assert_eq!(render("tojson(ensure_ascii=False)"), plain);
    let ascii = r#"{"b": 1, "a": ["\u00e9\"\n", null, true, 1.5, 1e+16, 1e-05, "<&>", "\ud83d\ude00"]}"#;
    assert_eq!(render("tojson(ensure_ascii=True)"), ascii);
    assert_eq!(render("tojson(separators=(',', ':'))"), plain.replace(", ", ",").replace(": ", ":"));
    all_render(&[
        ("{{ {'b': 1, 'a': [2]}|tojson(indent=2, sort_keys=True) }}", "{\n  \"a\": [\n    2\n  ],\n  \"b\": 1\n}"),
        ("{{ [[], {}]|tojson(indent=4) }}", "[\n    [],\n    {}\n]"),
        ("{{ {true: 1, none: 2, 3: 4}|tojson(false, none) }}", r#"{"true": 1, "null": 2, "3": 4}"#),
    ]);
    for wrong in ["tojson(indent=100000000)", "tojson(separators=1)", "tojson(colour=1)"] {
        assert!(try_render(&format!("{{{{ 1|{wrong} }}}}"), context! {}).is_err(), "{wrong}");
    }
}

#[test]
fn strftime_now_gives_the_date() {
    let year: i32 = render("{{ strftime_now('%Y') }}").parse().unwrap();
    assert!(year >= 2025, "{year}");
    let date = render(
        "{% if strftime_now is defined %}{% set date = strftime_now('%d %b %Y') %}{{ 'Today: ' + date }}{% endif %}",
    );
    assert_eq!(date.len(), "Today: 26 Jul 2024".len(), "{date}");
    assert!(try_render("{{ strftime_now('%Q!') }}", context! {}).unwrap_err().contains("strftime_now"));
}

#[test]
fn methods_of_python_work() {
    all_render(&[
        ("{{ 'a,b,c'.rsplit(',', 1) }} {{ 'a b  c'.rsplit(none, 1) }}", "['a,b', 'c'] ['a b', 'c']"),
        ("{{ 'a-b-c'.partition('-') }} {{ 'a-b-c'.rpartition('-') }}", "('a', '-', 'b-c') ('a-b', '-', 'c')"),
        ("{{ 'abc'.removeprefix('a').removesuffix('c') }} {{ 'x'.removeprefix('a') }}", "b x"),
        (
            "{{ '42'.zfill(5) }} {{ '-42'.zfill(5) }} {{ 'ab'.center(5, '*') }} {{ 'ab'.ljust(4) }}|",
            "00042 -0042 **ab* ab  |",
        ),
        ("{{ [1, 2].index(2) }} {{ 'abc'.index('c') }} {{ {'a': 1}.copy().items()|list }}", "1 2 [('a', 1)]"),
        ("{{ '{:>4}|{}'.format('a', 2024) }}", "   a|2024"),
        ("{{ '{0} of 999999999, {{999999999}} {1:.2f}'.format('a', 0.5) }}", "a of 999999999, {999999999} 0.50"),
        ("{{ ', '.join(['a', 1, none]) }} {{ '-'.join('abc') }} {{ 'x'.join([]) }}|", "a, 1, None a-b-c |"),
        ("{{ 'a' is sequence }} {{ {} is sequence }} {{ 1 is sequence }}", "True True False"),
    ]);
    assert!(try_render("{{ 'a'.nonsense() }}", context! {}).unwrap_err().contains("nonsense"));
    assert!(try_render("{{ 'a'.ljust(9, 'xy') }}", context! {}).is_err());
}

#[test]
fn loops_can_be_left_and_go_on() {
    all_render(&[
        (
            "{% for i in range(9) %}{% if i == 1 %}{% continue %}{% endif %}{% if i == 4 %}{% break %}{% endif %}{{ i }}{% endfor %}",
            "023",
        ),
        ("{% for i in 'ab' %}{{ loop.previtem }}{{ loop.nextitem }}{% endfor %}", "ba"),
    ]);
}

#[test]
fn the_functions_of_jinja_are_there() {
    all_render(&[
        ("{% set comma = joiner(', ') %}{% for i in [1, 2] %}{{ comma() }}{{ i }}{% endfor %}", "1, 2"),
        ("{{ dict(a=1).a }} {{ [{'a': 1}]|map(attribute='a')|join }} {{ '<b>x</b>'|striptags }}", "1 1 x"),
    ]);
}

#[test]
fn dictionaries_keep_the_order_of_their_keys() {
    all_render(&[(
        "{{ {'z': 1, 'a': 2} }} {% for k, v in {'z': 1, 'a': 2}.items() %}{{ k }}{% endfor %}",
        "{'z': 1, 'a': 2} za",
    )]);
}

#[test]
fn texts_have_the_escapes_of_python() {
    all_render(&[
        ("{{ 'a\\\nb' }}", "ab"),
        (r"{{ '\\n' }}{{ '\'\x41\u00e9\U0001F600\v\/' }}", "\\n'Aé😀\u{b}\\/"),
        (r#"{{ "\d \" }}" ~ '\n' }}"#, "\\d \" }}\n"),
        (r#"{{ '\U00000022\U00000027\U0000005cn' }}{{ "\U00000022\U00000027\U0000005c" }}"#, "\"'\\n\"'\\"),
    ]);
    let error = environment("chat", "{{ 'a\\\nb' }}\n{% if %}").err().unwrap();
    assert!(error.starts_with("line 3: "), "{error}");
}

#[test]
fn errors_name_the_line() {
    let error = environment("chat", "a\n{{ 1 % 2 }}\n{% if %}").err().unwrap();
    assert!(error.starts_with("line 3: "), "{error}");
    let error = environment("chat", "\n{% nonsense %}").err().unwrap();
    assert_eq!(error, "line 2: unknown statement nonsense");
}

/// A bracket hangs below the operators behind it.
#[test]
fn the_depth_of_an_expression_counts_operators_in_brackets_that_are_closed() {
    let nested = |open: &str, close: &str, levels: usize| {
        let sum = format!("{}{close}", " + 1".repeat(100));
        format!("{{{{ {}1{} }}}}", open.repeat(levels), sum.repeat(levels))
    };
    for (open, close) in [("(", ")"), ("[", "][0]"), ("x(", ")"), ("[2, ", "]")] {
        let error = environment("chat", &nested(open, close, 50)).err().unwrap();
        assert!(error.contains("nested deeper than 250"), "{open}: {error}");
    }
    assert_eq!(render(&nested("(", ")", 2)), "201");
    let attributes = format!("{{{{ a{0} + a{0} }}}}", ".b".repeat(140));
    assert!(environment("chat", &attributes).is_ok());
}

#[test]
fn hostile_templates_cost_no_stack_and_no_memory() {
    let long = |start: &str, middle: &str, end: &str| [start, &format!("{middle}\n").repeat(50_000), end].concat();
    for source in [
        long("{{ ", "-", "1 }}"),
        long("{{ ", "not ", "1 }}"),
        long("{{ a", ".b", " }}"),
        long("{{ a", "|b", " }}"),
        long("{{ a", "[0]", " }}"),
        long("{{ 1", " if 1 else 1", " }}"),
        long("{{ 1", " + 1", " }}"),
        long("{{ 1", " ** 1", " }}"),
        long("{{ 1", " % 1", " }}"),
        long("{{ ", "(", " }}"),
        long("{% set ", "(", " %}"),
        long("{{ a is ", "b -", "1 }}"),
        long("{% if 1 %}", "{% elif 1 %}", "{% endif %}"),
        long("", "{% if 1 %}", ""),
        long("", "{% generation %}", ""),
        long("{% raw %}", "{% '", ""),
        long("{{ ) }}", "(", ""),
        "x".repeat(70_000),
        "x\n".repeat(1 << 20),
    ] {
        assert!(environment("chat", &source).is_err(), "{}", &source[..40]);
    }
    for source in [
        "{{ 'a'.ljust(3000000000) }}",
        "{{ '%3000000000d' % 1 }}",
        "{{ '{:3000000000d}'.format(1) }}",
        "{{ '{:{}}'.format(1, 3000000000) }}",
        "{% set s = 'a' * 9999999 %}{{ ''.join([s] * 99999)|length }}",
        "{% set s = 'a' * 99999 %}{{ ('{0}' * 99999).format(s)|length }}",
        "{% set s = 'a' * 99999 %}{{ ('{x}' * 99999).format(x=s)|length }}",
        "{% set s = 'a' * 9999999 %}{{ ('%s' * 99999) % ((s,) * 99999) }}",
        "{% set s = 'a' * 99999 %}{{ ('%(x)s' * 99999) % {'x': s} }}",
        "{% set s = 'a' * 9999999 %}{{ s.split('a')|length }}",
        "{% set n = namespace(x='a') %}{% for i in range(99) %}{% set n.x = [n.x, n.x] %}{% endfor %}{{ n.x }}",
        "{{ 'a' * 3000000000 }}",
        "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
        "{% include 'chat' %}",
        "{% set n = namespace(x=[]) %}{% for i in range(300) %}{% set n.x = [n.x] %}{% endfor %}{{ n.x|tojson }}",
        "{% set n = namespace(x='a') %}{% for i in range(99) %}{% set n.x = [n.x, n.x] %}{% endfor %}{{ n.x|tojson }}",
    ] {
        assert!(try_render(source, context! {}).is_err(), "{source}");
    }
}

#[test]
fn expressions_as_long_as_the_limit_allows_compile() {
    let sum = format!("{{{{ 1{} }}}}", " + 1".repeat(240));
    assert_eq!(render(&sum), "241");
    let list = format!("{{{{ [{}]|length }}}}", "'a' + 'b', ".repeat(2_000));
    assert_eq!(render(&list), "2000");
    let branches = format!("{{% if 0 %}}{}{{% else %}}x{{% endif %}}", "{% elif 0 %}".repeat(240));
    assert_eq!(render(&branches), "x");
}

#[test]
fn what_a_template_raises_is_told_apart() {
    let environment = environment("chat", "{{ raise_exception('no') }}").unwrap();
    let error = environment.get_template("chat").unwrap().render(context! {}).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidOperation);
    let raised = std::error::Error::source(&error).unwrap().downcast_ref::<Raised>().unwrap();
    assert_eq!(raised.0, "no");
}
