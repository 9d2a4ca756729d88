use proptest::prelude::*;
use serde_json::json;

use super::*;

const SCHEMA: Schema = Schema {
    maps: &["Labels", "Ports", "Networks", "Volumes"],
    lists: &["Env", "Cmd", "Mounts"],
    optional: &["Health"],
    texts: &["StopSignal"],
    type_name: None,
};

fn value() -> Value {
    json!({
        "Id": "sha256:abc",
        "N": 3,
        "F": 1.5,
        "Config": {"Env": ["A=1", "B=2"], "Labels": {"k": "v", "a": "b"}, "Cmd": null, "Volumes": null},
        "State": {"Running": true, "Pid": 0, "Status": "running"},
        "Mounts": [{"Source": "/a"}, {"Source": "/b"}],
        "Ports": {"80/tcp": [{"HostPort": "8080"}], "81/tcp": null},
        "Networks": {"bridge": {"IPAddress": "10.0.0.2"}},
        "Text": "<a href='x'>",
    })
}

fn render(template: &str) -> Result<String, String> {
    let value = value();
    let template = Template::parse(template).map_err(|err| err.to_string())?;
    template
        .render(&value, &SCHEMA)
        .map_err(|err| err.to_string())
}

fn check(template: &str, expected: &str) {
    assert_eq!(render(template).as_deref(), Ok(expected), "{template}");
}

fn wrong(template: &str, expected: &str) {
    let message = render(template).expect_err(template);
    let message = message.strip_prefix("template parsing error: template: ");
    assert_eq!(message, Some(expected), "{template}");
}

#[test]
fn fields_print_as_go_prints_them() {
    check("{{.Id}}", "sha256:abc");
    check("{{ .N }}-{{.State.Running}}-{{.F}}", "3-true-1.5");
    check("{{.Config.Env}}", "[A=1 B=2]");
    check("{{.Config.Labels}}", "map[a:b k:v]");
    check("{{.Config.Labels.k}}", "v");
    check("{{.Config.Labels.none}}", "<no value>");
    check("{{.Config.Cmd}}{{.Config.Volumes}}", "[]map[]");
    check("{{.State}}", "{true 0 running}");
    check("{{.Ports}}", "map[80/tcp:[{8080}] 81/tcp:<nil>]");
    check("{{.Health}}{{if .Health}}x{{end}}", "<nil>");
    check("{{.ID}}{{.StopSignal}}", "sha256:abc");
}

#[test]
fn json_keeps_the_order_of_members() {
    check(
        "{{json .State}}",
        r#"{"Running":true,"Pid":0,"Status":"running"}"#,
    );
    check("{{.State.Pid | json}}", "0");
    check("{{json .Config.Cmd}}", "null");
}

#[test]
fn functions_take_arguments_and_pipes() {
    check(r#"{{join .Config.Env ","}}"#, "A=1,B=2");
    check(r#"{{.Id | upper | printf "%s!"}}"#, "SHA256:ABC!");
    check(
        "{{len .Config.Env}}{{len .Config.Cmd}}{{len .Config.Labels}}",
        "202",
    );
    check("{{index .Config.Env 1}}", "B=2");
    check(r#"{{(index (index .Ports "80/tcp") 0).HostPort}}"#, "8080");
    check(r#"{{index .Config.Labels "k"}}"#, "v");
    check(r#"{{index .Config.Labels "none"}}."#, ".");
    check(
        r#"{{if eq (index .Config.Labels "none") ""}}none{{end}}"#,
        "none",
    );
    check("{{slice .Id 7 9}}{{slice .Id 8}}", "abbc");
    check("{{slice .Config.Env 1}}", "[B=2]");
    check("{{truncate .Id 3}}{{truncate .Id 99}}", "shasha256:abc");
    check(r#"{{split .Id ":"}}"#, "[sha256 abc]");
    check(r#"{{pad .Id 1 2}}|{{pad "" 1 2}}|"#, " sha256:abc  ||");
    check(r#"{{title "ab cd"}}{{lower "AB"}}"#, "Ab Cdab");
    check("{{println .N}}{{print .N .N \"a\" .N}}", "3\n3 3a3");
    check("{{html .Text}}", "&lt;a href=&#39;x&#39;&gt;");
    check("{{js .Text}}", r"\u003Ca href\u003D\'x\'\u003E");
    check("{{urlquery .Text}}", "%3Ca+href%3D%27x%27%3E");
}

#[test]
fn printf_knows_gos_verbs() {
    for (arguments, expected) in [
        (r#""%s-%d" .Id .N"#, "sha256:abc-3"),
        (r#""%5s|%-5s|%05d" "x" "y" 42"#, "    x|y    |00042"),
        (
            r#""%q %v %t" "a\"b" .Config.Env true"#,
            r#""a\"b" [A=1 B=2] true"#,
        ),
        (
            r#""%x %X %o %b %c %U" 255 255 8 5 65 65"#,
            "ff FF 10 101 A U+0041",
        ),
        (
            r#""%.2f|%8.3f|%e|%g" 1.5 1.5 1.5 1.5"#,
            "1.50|   1.500|1.500000e+00|1.5",
        ),
        (r#""%+d % d %#x" 5 5 255"#, "+5  5 0xff"),
        (r#""%d" "a""#, "%!d(string=a)"),
        (r#""%s" 5"#, "%!s(int=5)"),
        (r#""%d %d" 1"#, "1 %!d(MISSING)"),
        (r#""a" 1"#, "a%!(EXTRA int=1)"),
        (r#""100%""#, "100%!(NOVERB)"),
        (r#""%*d|%%" 4 7"#, "   7|%"),
        (r#""%.1s""#, "%!s(MISSING)"),
        (r#""%T %T" 1 "a""#, "int string"),
    ] {
        check(&format!("{{{{printf {arguments}}}}}"), expected);
    }
}

#[test]
fn blocks_choose_and_repeat() {
    check("{{if .State.Running}}up{{else}}down{{end}}", "up");
    check("{{if .State.Pid}}a{{else if .N}}b{{else}}c{{end}}", "b");
    check(
        "{{with .Config.Cmd}}a{{else with .Id}}{{.}}{{end}}",
        "sha256:abc",
    );
    check(
        "{{if eq .N 3}}three{{end}}{{if eq .N 1 2 3}}any{{end}}",
        "threeany",
    );
    check(
        r"{{if and .N (not .State.Pid)}}x{{end}}{{or .State.Pid 7}}",
        "x7",
    );
    check(
        "{{if lt 1 2}}a{{end}}{{if ge .Id \"s\"}}b{{end}}{{ne 1 2}}",
        "abtrue",
    );
    check("{{range .Mounts}}{{.Source}} {{end}}", "/a /b ");
    check("{{range .Config.Cmd}}x{{else}}none{{end}}", "none");
    check(
        "{{range $k, $v := .Networks}}{{$k}}={{$v.IPAddress}}{{end}}",
        "bridge=10.0.0.2",
    );
    check(
        "{{range $i, $v := .Config.Env}}{{if $i}},{{end}}{{$v}}{{end}}",
        "A=1,B=2",
    );
    check(
        "{{range $p, $c := .Ports}}{{$p}}->{{with $c}}{{(index . 0).HostPort}}{{end}};{{end}}",
        "80/tcp->8080;81/tcp->;",
    );
    check("{{range 3}}{{.}}{{end}}", "012");
    check(
        "{{range $i := .Config.Env}}{{break}}{{end}}{{range .Config.Env}}{{continue}}x{{end}}",
        "",
    );
    check("{{with .Config}}{{len .Env}}{{$.N}}{{end}}", "23");
    check(
        "{{$x := .N}}{{range .Mounts}}{{$x = .Source}}{{end}}{{$x}}",
        "/b",
    );
    check("{{$x := 1}}{{if true}}{{$x := 2}}{{end}}{{$x}}", "1");
    check("a {{- /* gone */ -}} b", "ab");
    check("a {{- .N -}} b {{.N -}}\n", "a3b 3");
    check("{{range .Mounts -}}\n {{.Source}}\n{{- end}}", "/a/b");
    check(
        "{{define \"t\"}}<{{.}}>{{end}}{{template \"t\" .N}}{{template \"t\"}}",
        "<3><<no value>>",
    );
    check("{{block \"b\" .State}}{{.Status}}{{end}}", "running");
    check(
        r#"{{`raw \n`}}{{"\x41\u00e9\n"}}{{'a'}}{{0x10}}{{-1}}"#,
        "raw \\nA\u{e9}\n9716-1",
    );
}

#[test]
fn mistakes_are_told_in_gos_words() {
    wrong(
        "{{.Nope}}",
        ":1:2: executing \"\" at <.Nope>: map has no entry for key \"Nope\"",
    );
    wrong(
        "a\n {{.State.Nope}}",
        ":2:9: executing \"\" at <.State.Nope>: map has no entry for key \"Nope\"",
    );
    wrong("{{.Id", ":1: unclosed action");
    wrong("{{nope .Id}}", ":1: function \"nope\" not defined");
    wrong("{{if .Id}}", ":1: unexpected EOF");
    wrong("{{end}}", ":1: unexpected {{end}}");
    wrong("{{else}}", ":1: unexpected {{else}}");
    wrong("{{}}", ":1: missing value for command");
    wrong("{{if}}{{end}}", ":1: missing value for if");
    wrong(
        "{{.Id | 3}}",
        ":1: non executable command in pipeline stage 2",
    );
    wrong("{{$x}}", ":1: undefined variable \"$x\"");
    wrong("{{\"a}}", ":1: unterminated quoted string");
    wrong("{{/* a}}", ":1: unclosed comment");
    wrong("{{(.Id}}", ":1: unclosed left paren");
    wrong("{{.Id)}}", ":1: unexpected right paren");
    wrong("{{.Id-x}}", ":1: bad character U+002D '-'");
    wrong("{{break}}", ":1: {{break}} outside {{range}}");
    wrong(
        "{{range .Id}}{{end}}",
        ":1:8: executing \"\" at <.Id>: range can't iterate over sha256:abc",
    );
    wrong(
        "{{.Id 3}}",
        ":1:2: executing \"\" at <.Id>: Id has arguments but cannot be invoked as function",
    );
    wrong(
        "{{3 4}}",
        ":1:2: executing \"\" at <3>: can't give argument to non-function 3",
    );
    wrong(
        "{{index .Config.Env 5}}",
        ":1:2: executing \"\" at <index .Config.Env 5>: error calling index: index out of range: 5",
    );
    wrong(
        "{{json}}",
        ":1:2: executing \"\" at <json>: wrong number of args for json: want 1 got 0",
    );
    wrong(
        "{{eq .N .Id}}",
        ":1:2: executing \"\" at <eq .N .Id>: error calling eq: incompatible types for comparison",
    );
    wrong(
        "{{.Id.X}}",
        ":1:5: executing \"\" at <.Id.X>: can't evaluate field X in type string",
    );
    wrong(
        "{{.Health.Status}}",
        ":1:9: executing \"\" at <.Health.Status>: map has no entry for key \"Health\"",
    );
    wrong(
        "{{template \"t\"}}",
        ":1:11: executing \"\" at <{{template \"t\"}}>: template \"t\" not defined",
    );
}

#[test]
fn a_row_answers_label() {
    let template = Template::parse(r#"{{.Label "a"}}"#).unwrap();
    for row in [json!({"Labels": "x=y,a=b"}), json!({"Labels": {"a": "b"}})] {
        assert_eq!(template.render(&row, &SCHEMA).unwrap(), "b");
    }
}

#[test]
fn titles_are_left_alone() {
    let template = Template::parse("{{lower .ID}}\t{{truncate .A 1}}\t{{.Nope}}").unwrap();
    let titles = json!({"ID": "CONTAINER ID", "A": "NAMES"});
    assert_eq!(
        template.render_header(&titles).unwrap(),
        "CONTAINER ID\tNAMES\t<no value>"
    );
    assert!(template.mentions("ID") && !template.mentions("Size"));
}

#[test]
fn what_runs_away_is_stopped() {
    let deep = "{{if 1}}".repeat(5000);
    assert!(render(&deep).is_err());
    let deep = format!("{{{{{}1{}}}}}", "(".repeat(5000), ")".repeat(5000));
    assert!(render(&deep).is_err());
    assert!(render("{{define \"t\"}}{{template \"t\"}}{{end}}{{template \"t\"}}").is_err());
    assert!(render("{{range 9223372036854775807}}x{{end}}").is_err());
    check("{{len (printf \"%999999999d\" 1)}}", "4096");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn no_text_makes_it_panic(text in ".{0,60}") {
        let _any = render(&text);
    }

    #[test]
    fn no_template_makes_it_panic(parts in proptest::collection::vec(prop_oneof![
        Just("{{"), Just("}}"), Just("{{-"), Just(" -}}"), Just("if "), Just("range "), Just("end"),
        Just("with "), Just("else"), Just(".Config"), Just(".Env "), Just("$"), Just("$x"), Just(":="), Just("="),
        Just("|"), Just("("), Just(")"), Just("\"a\""), Just("`b`"), Just("'c'"), Just("1"), Just("-2"), Just("0x"),
        Just("index "), Just("slice "), Just("printf "), Just("\"%5.*q\""), Just("json "), Just("eq "),
        Just(","), Just("define \"t\""), Just("template \"t\" "), Just("block \"b\" "), Just("/*"), Just("*/"),
        Just(" "), Just("\n"), Just("break"), Just("."), Just("nil"), Just("true"), Just("é"),
        Just("{{range .Mounts}}"), Just("{{end}}"), Just("{{.Id}}"), Just("truncate "), Just("pad "),
    ], 0..24)) {
        let _any = render(&parts.concat());
    }
}
