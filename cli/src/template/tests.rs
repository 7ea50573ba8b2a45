//! Tables of templates, their data and what Go and Docker make of them.

use serde_json::json;

use super::{Template, Value};

fn render(template: &str, data: &serde_json::Value) -> Result<String, String> {
    let template = Template::parse(template).map_err(|error| error.to_string())?;
    template.render(&Value::from_json(data)).map_err(|error| error.to_string())
}

fn sample() -> serde_json::Value {
    json!({
        "ID": "abc123def456", "Name": "web", "Empty": "", "Zero": 0, "N": 42, "Pi": 3.5, "Yes": true, "No": false,
        "Nothing": null, "Tags": ["a:1", "b:2", "c:3"], "None": [], "HTML": "<a href='x'>&",
        "State": { "Running": true, "ExitCode": 0, "Status": "running" },
        "Labels": { "com.example.x": "1", "b": "two", "a": "one" },
        "Mounts": [ { "Source": "/s1", "Destination": "/d1" }, { "Source": "/s2", "Destination": "/d2" } ],
        "Ports": { "80/tcp": [ { "HostPort": "8080" } ], "90/udp": null },
    })
}

fn check(cases: &[(&str, &str)]) {
    for (template, expected) in cases {
        assert_eq!(render(template, &sample()).as_deref(), Ok(*expected), "{template}");
    }
}

fn refuse(cases: &[(&str, &str)]) {
    for (template, expected) in cases {
        match render(template, &sample()) {
            Ok(text) => panic!("{template} gave {text:?}"),
            Err(error) => assert_eq!(error, format!("template parsing error: template: {expected}"), "{template}"),
        }
    }
}

#[test]
fn text_fields_and_literals() {
    check(&[
        ("", ""),
        ("plain text", "plain text"),
        ("{{.ID}}", "abc123def456"),
        ("{{ .ID }}", "abc123def456"),
        ("{{.State.Running}} {{.State.ExitCode}}", "true 0"),
        ("{{.Tags}}", "[a:1 b:2 c:3]"),
        ("{{.None}}", "[]"),
        ("{{.Labels}}", "map[a:one b:two com.example.x:1]"),
        ("{{.Nothing}}", "<no value>"),
        ("{{.Labels.a}} {{.Labels.missing}}", "one <no value>"),
        ("{{.Labels.missing.more}}", "<no value>"),
        ("{{$.Name}}", "web"),
        ("{{\"a\\tb\"}}", "a\tb"),
        ("{{`raw \\t {{ x`}}", "raw \\t {{ x"),
        ("{{'a'}} {{'\\n'}}", "97 10"),
        ("{{12}} {{-3}} {{0x1f}} {{1_000}} {{1.5}} {{true}}", "12 -3 31 1000 1.5 true"),
        ("{{\"\\u00e9\\x41\\101\"}}", "éAA"),
        ("{ {.ID} }", "{ {.ID} }"),
        ("}}", "}}"),
    ]);
}

#[test]
fn trim_markers_and_comments() {
    check(&[
        ("a  {{- .Name -}}  b", "awebb"),
        ("a  {{- .Name}}  b", "aweb  b"),
        ("a  {{.Name -}} \n b", "a  webb"),
        ("a {{/* note }} */}} b", "a  b"),
        ("a {{- /* note */ -}} b", "ab"),
        ("{{- 3 -}}", "3"),
        ("{{-3}}", "-3"),
        ("x {{- if .Yes -}} y {{- end -}} z", "xyz"),
    ]);
}

#[test]
fn pipelines_and_functions() {
    check(&[
        ("{{json .Tags}}", r#"["a:1","b:2","c:3"]"#),
        ("{{.HTML | json}}", r#""<a href='x'>&""#),
        ("{{json .State}}", r#"{"ExitCode":0,"Running":true,"Status":"running"}"#),
        ("{{json .Nothing}}", "null"),
        ("{{join .Tags \", \"}}", "a:1, b:2, c:3"),
        ("{{join .None \",\"}}|", "|"),
        ("{{split .Name \"e\"}}", "[w b]"),
        ("{{range split \"a,b\" \",\"}}<{{.}}>{{end}}", "<a><b>"),
        ("{{.Name | upper}} {{lower \"ABC\"}} {{title \"hello big world\"}}", "WEB abc Hello Big World"),
        ("{{pad .Name 1 2}}|{{pad .Empty 1 2}}|", " web  ||"),
        ("{{truncate .ID 6}} {{truncate .Name 10}}", "abc123 web"),
        ("{{println .Name .N}}", "web 42\n"),
        ("{{print .Name .N .Zero}}", "web42 0"),
        ("{{print 1 2 \"a\" \"b\" 3}}", "1 2ab3"),
        ("{{len .Tags}} {{len .Name}} {{len .Labels}}", "3 3 3"),
        ("{{index .Tags 1}}", "b:2"),
        ("{{index .Labels \"com.example.x\"}}", "1"),
        ("{{index .Labels \"missing\"}}|", "|"),
        ("{{(index (index .Ports \"80/tcp\") 0).HostPort}}", "8080"),
        ("{{(index .Mounts 1).Source}}", "/s2"),
        ("{{slice .ID 0 3}} {{slice .ID 9}} {{slice .Tags 1 2}}", "abc 456 [b:2]"),
        ("{{.Name | printf \"%s-%d\" \"x\" | len}}", "17"),
        ("{{html .HTML}}", "&lt;a href=&#39;x&#39;&gt;&amp;"),
        ("{{urlquery \"a b&c\"}}", "a+b%26c"),
        ("{{js \"a'b\"}}", "a\\'b"),
    ]);
}

#[test]
fn printf_verbs() {
    check(&[
        (r#"{{printf "%s" .Name}}"#, "web"),
        (r#"{{printf "%q" .Name}}"#, "\"web\""),
        (r#"{{printf "%-6s|%6s|%.2s" .Name .Name .Name}}"#, "web   |   web|we"),
        (r#"{{printf "%d %5d %05d %-5d| %+d" .N .N .N .N .N}}"#, "42    42 00042 42   | +42"),
        (r#"{{printf "%x %X %#x %o %b" .N .N .N .N 5}}"#, "2a 2A 0x2a 52 101"),
        (r#"{{printf "%v %v %v %v" .Name .N .Tags .Nothing}}"#, "web 42 [a:1 b:2 c:3] <nil>"),
        (r#"{{printf "%t %T %c" .Yes .Name 65}}"#, "true string A"),
        (r#"{{printf "%f %.1f %e" .Pi .Pi .Pi}}"#, "3.500000 3.5 3.500000e+00"),
        (r#"{{printf "%*d" 4 .N}}"#, "  42"),
        (r#"{{printf "100%%"}}"#, "100%"),
        (r#"{{printf "%d" .Name}}"#, "%!d(string=web)"),
        (r#"{{printf "%s" .N}}"#, "%!s(int=42)"),
        (r#"{{printf "%s"}}"#, "%!s(MISSING)"),
        (r#"{{printf "x" 1}}"#, "x%!(EXTRA int=1)"),
        (r#"{{printf "%"}}"#, "%!(NOVERB)"),
        (r#"{{printf "%-20.12s|" .ID}}"#, "abc123def456        |"),
    ]);
}

#[test]
fn comparison_and_logic() {
    check(&[
        ("{{eq .N 42}} {{eq .Name \"x\" \"web\"}} {{ne .N 42}}", "true true false"),
        ("{{lt 1 2}} {{le 2 2}} {{gt \"b\" \"a\"}} {{ge 1 2}} {{lt 1 1.5}}", "true true true false true"),
        ("{{and .Yes .Name}} {{and .Empty .Name}}|", "web |"),
        ("{{or .Empty .Name}} {{or .Zero .No}}", "web false"),
        ("{{not .Empty}} {{not .Name}}", "true false"),
        ("{{and .No (index .None 3)}}", "false"),
        ("{{eq .Nothing nil}}", "true"),
        ("{{if eq .State.Status \"running\"}}up{{else}}down{{end}}", "up"),
        ("{{if and .Yes (not .No)}}y{{end}}", "y"),
    ]);
}

#[test]
fn branches_loops_and_variables() {
    check(&[
        ("{{if .Empty}}a{{else if .Zero}}b{{else if .N}}c{{else}}d{{end}}", "c"),
        ("{{with .State}}{{.Status}} {{$.Name}}{{end}}", "running web"),
        ("{{with .Empty}}x{{else}}none{{end}}", "none"),
        ("{{with .Empty}}x{{else with .State}}{{.Status}}{{end}}", "running"),
        ("{{range .Tags}}{{.}};{{end}}", "a:1;b:2;c:3;"),
        ("{{range $i, $t := .Tags}}{{if $i}}, {{end}}{{$i}}={{$t}}{{end}}", "0=a:1, 1=b:2, 2=c:3"),
        ("{{range $k, $v := .Labels}}{{$k}}:{{$v}} {{end}}", "a:one b:two com.example.x:1 "),
        ("{{range .None}}x{{else}}empty{{end}}", "empty"),
        ("{{range .Nothing}}x{{else}}empty{{end}}", "empty"),
        ("{{range 3}}{{.}}{{end}}", "012"),
        ("{{range .Tags}}{{if eq . \"b:2\"}}{{continue}}{{end}}{{.}}{{end}}", "a:1c:3"),
        ("{{range .Tags}}{{if eq . \"b:2\"}}{{break}}{{end}}{{.}}{{end}}", "a:1"),
        ("{{range .Mounts}}{{.Source}}->{{.Destination}} {{end}}", "/s1->/d1 /s2->/d2 "),
        ("{{$x := .Name}}{{$x}} {{$x | upper}}", "web WEB"),
        ("{{$x := 1}}{{if .Yes}}{{$x = 2}}{{end}}{{$x}}", "2"),
        ("{{$x := 1}}{{if .Yes}}{{$x := 2}}{{end}}{{$x}}", "1"),
        ("{{with $s := .State}}{{$s.Status}}{{end}}", "running"),
        (
            "{{range $p, $c := .Ports}}{{$p}} -> {{if $c}}{{(index $c 0).HostPort}}{{else}}none{{end}} {{end}}",
            "80/tcp -> 8080 90/udp -> none ",
        ),
    ]);
}

#[test]
fn refusals_in_the_words_of_go() {
    refuse(&[
        ("{{.ID", ":1: unclosed action"),
        ("{{", ":1: unclosed action"),
        ("{{}}", ":1: missing value for command"),
        ("{{foo .ID}}", ":1: function \"foo\" not defined"),
        ("{{if .Yes}}x", ":1: unexpected EOF"),
        ("{{end}}", ":1: unexpected {{end}}"),
        ("{{else}}", ":1: unexpected {{else}}"),
        ("a\nb{{$x}}", ":2: undefined variable \"$x\""),
        ("{{(.ID}}", ":1: unclosed left paren"),
        ("{{.ID)}}", ":1: unexpected right paren"),
        ("{{\"abc}}", ":1: unterminated quoted string"),
        ("{{/* abc}}", ":1: unclosed comment"),
        ("{{.ID | }}", ":1: missing value for command"),
        ("{{break}}", ":1: {{break}} outside {{range}}"),
        ("{{define \"x\"}}{{end}}", ":1: {{define}} is not supported in a format"),
        ("{{if .Yes}}{{else}}{{else}}{{end}}", ":1: expected end; found {{else}}"),
        ("{{12x}}", ":1: bad number syntax: \"12x\""),
        ("{{.Missing}}", ":1:2: executing \"\" at <.Missing>: map has no entry for key \"Missing\""),
        ("{{.State.Foo}}", ":1:2: executing \"\" at <.State.Foo>: map has no entry for key \"Foo\""),
        ("{{.Name.Foo}}", ":1:2: executing \"\" at <.Name.Foo>: can't evaluate field Foo in type string"),
        ("{{.Nothing.Foo}}", ":1:2: executing \"\" at <.Nothing.Foo>: nil pointer evaluating interface {}.Foo"),
        ("ab{{index .Tags 9}}", ":1:4: executing \"\" at <index .Tags 9>: error calling index: index out of range: 9"),
        (
            "{{lower .N}}",
            ":1:2: executing \"\" at <lower .N>: error calling lower: wrong type for value; expected string; got int",
        ),
        ("{{eq 1 \"1\"}}", ":1:2: executing \"\" at <eq 1 \"1\">: error calling eq: incompatible types for comparison"),
        ("{{len}}", ":1:2: executing \"\" at <len>: wrong number of args for len: got 0"),
        ("{{range .Name}}x{{end}}", ":1:8: executing \"\" at <.Name>: range can't iterate over web"),
        ("{{.Name 1}}", ":1:2: executing \"\" at <.Name>: can't give argument to non-function .Name"),
        ("{{1 2}}", ":1: can't give argument to non-function 1"),
    ]);
}

#[test]
fn headings_pass_through_functions() {
    let template = Template::parse("{{upper .ID}}\t{{truncate .Name 2}}\t{{json .Names}}").expect("parses");
    let headings = Value::from_json(&json!({ "ID": "Container ID", "Name": "NAME", "Names": "NAMES" }));
    assert_eq!(template.render_headings(&headings).as_deref(), Ok("Container ID\tNAME\tNAMES"));
}

#[test]
fn no_input_panics() {
    let pieces = [
        "{{", "}}", ".", "$x", ":=", "|", "(", ")", "\"", "'", "`", "if ", "range ", "end", "else ", "- ", " -", "é",
        "1", "/*", "*/",
    ];
    let mut seed = 1_u64;
    for _ in 0..20_000 {
        let mut text = String::from("{{");
        for _ in 0..(seed % 9) {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            text.push_str(pieces[usize::try_from(seed >> 33).unwrap_or(0) % pieces.len()]);
        }
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let _ = render(&text, &sample());
    }
    let deep = format!("{{{{{}1{}}}}}", "(".repeat(10_000), ")".repeat(10_000));
    assert!(render(&deep, &sample()).is_err());
}

#[test]
fn the_fields_that_a_template_looks_at() {
    let cases: &[(&str, Option<&[&str]>)] = &[
        ("", Some(&[])),
        ("plain", Some(&[])),
        ("{{.ID}}\t{{.Name}}", Some(&["ID", "Name"])),
        ("{{$.ID}}{{.State.Running}}", Some(&["ID", "State"])),
        ("{{.Label \"x\"}}{{upper .ID}}{{.N | printf \"%d\"}}", Some(&["ID", "Label", "N"])),
        ("{{if .A}}{{.B}}{{else}}{{(index .C 1).D}}{{end}}", Some(&["A", "B", "C"])),
        ("{{$x := .A}}{{$x.B}}", Some(&["A"])),
        ("{{range .A}}{{.B}}{{end}}{{with .C}}{{$.D}}{{end}}", Some(&["A", "B", "C", "D"])),
        ("{{json .}}", None),
        ("{{.}}", None),
        ("{{json $}}", None),
        ("{{if .A}}{{println .}}{{end}}", None),
        ("{{range .A}}{{.}}{{end}}", None),
    ];
    for (template, expected) in cases {
        let parsed = Template::parse(template).unwrap_or_else(|error| panic!("{template}: {error}"));
        let fields = parsed.fields().map(|fields| fields.into_iter().collect::<Vec<_>>());
        assert_eq!(fields.as_deref(), *expected, "{template}");
    }
}

#[test]
fn plain_fields_need_no_evaluation() {
    let pieces = |template: &str| {
        let parsed = Template::parse(template).unwrap_or_else(|error| panic!("{template}: {error}"));
        parsed.pieces().map(|pieces| format!("{pieces:?}"))
    };
    assert_eq!(pieces("{{.ID}}: {{.Name}}").as_deref(), Some(r#"[Field("ID"), Text(": "), Field("Name")]"#));
    for template in
        ["{{upper .ID}}", "{{.State.Running}}", "{{.}}", "{{$x := .ID}}", "{{if .ID}}x{{end}}", "{{.ID | len}}"]
    {
        assert_eq!(pieces(template), None, "{template}");
    }
}
