use serde_json::json;

use super::*;

fn check(template: &str, expected: &str) {
    let value = json!({
        "Id": "sha256:abc",
        "N": 3,
        "Config": {"Env": ["A=1", "B=2"], "Labels": {"k": "v"}, "Cmd": null},
        "State": {"Running": true, "Pid": 0},
        "Mounts": [{"Source": "/a"}, {"Source": "/b"}],
        "Ports": {"80/tcp": [{"HostPort": "8080"}]},
        "Networks": {"bridge": {"IPAddress": "10.0.0.2"}},
    });
    let got = Template::parse(template).and_then(|template| template.render(&value));
    match got {
        Ok(text) => assert_eq!(text, expected, "{template}"),
        Err(err) => assert_eq!(err.to_string(), expected, "{template}"),
    }
}

#[test]
fn fields_print_as_go_prints_them() {
    check("{{.Id}}", "sha256:abc");
    check("{{ .N }}-{{.State.Running}}", "3-true");
    check("{{.Config.Env}}", "[A=1 B=2]");
    check("{{.Config.Labels}}", "map[k:v]");
    check("{{.Config.Labels.k}}", "v");
    check("{{.Config.Labels.none}}", "<no value>");
    check("{{.Config.Cmd}}", "<no value>");
}

#[test]
fn json_keeps_the_order_of_members() {
    check("{{json .State}}", r#"{"Running":true,"Pid":0}"#);
    check("{{.State | json}}", r#"{"Running":true,"Pid":0}"#);
    check("{{json .Config.Cmd}}", "null");
}

#[test]
fn functions_take_arguments_and_pipes() {
    check(r#"{{join .Config.Env ","}}"#, "A=1,B=2");
    check("{{.Id | upper}}", "SHA256:ABC");
    check("{{len .Config.Env}}", "2");
    check("{{index .Config.Env 1}}", "B=2");
    check(r#"{{(index (index .Ports "80/tcp") 0).HostPort}}"#, "8080");
    check(r#"{{index .Config.Labels "k"}}"#, "v");
    check(r#"{{printf "%s-%d" .Id .N}}"#, "sha256:abc-3");
    check(r#"{{printf "%5s|" "x"}}"#, "    x|");
    check("{{println .N}}", "3\n");
    check(r"{{slice .Id 7 9}}", "ab");
    check(r"{{truncate .Id 3}}", "sha");
    check(r#"{{split .Id ":"}}"#, "[sha256 abc]");
}

#[test]
fn blocks_choose_and_repeat() {
    check("{{if .State.Running}}up{{else}}down{{end}}", "up");
    check("{{if .State.Pid}}up{{else}}down{{end}}", "down");
    check("{{if .State.Pid}}a{{else if .N}}b{{else}}c{{end}}", "b");
    check(r"{{if eq .N 3}}three{{end}}", "three");
    check(r"{{if and .N (not .State.Pid)}}x{{end}}", "x");
    check("{{range .Mounts}}{{.Source}} {{end}}", "/a /b ");
    check("{{range .Config.Cmd}}x{{else}}none{{end}}", "none");
    check(
        "{{range $k, $v := .Networks}}{{$k}}={{$v.IPAddress}}{{end}}",
        "bridge=10.0.0.2",
    );
    check(
        "{{range $i, $v := .Config.Env}}{{$i}}{{$v}};{{end}}",
        "0A=1;1B=2;",
    );
    check("{{with .Config}}{{len .Env}}{{$.N}}{{end}}", "23");
    check("{{$x := .N}}{{$x}}", "3");
    check("a {{- /* gone */ -}} b", "ab");
    check("a {{- .N -}} b", "a3b");
    check("{{range .Mounts -}}\n {{.Source}}\n{{- end}}", "/a/b");
}

#[test]
fn mistakes_are_named() {
    check("{{.Nope}}", "template: map has no entry for key \"Nope\"");
    check("{{.Id", "template parsing error: unclosed action");
    check(
        "{{nope .Id}}",
        "template parsing error: function \"nope\" not defined",
    );
    check("{{if .Id}}", "template parsing error: unexpected EOF");
    check("{{end}}", "template parsing error: unexpected {{end}}");
    check("{{}}", "template parsing error: missing value for command");
    check(
        "{{range .N}}{{end}}",
        "template: range can't iterate over 3",
    );
}

#[test]
fn a_row_answers_label() {
    let template = Template::parse(r#"{{.Label "a"}}"#).unwrap();
    assert_eq!(template.render(&json!({"Labels": "x=y,a=b"})).unwrap(), "b");
    assert_eq!(
        template.render(&json!({"Labels": {"a": "c"}})).unwrap(),
        "c"
    );
}
