//! The scripts. Each asks the program, so none of them knows a command.

/// The script of a shell; bash's for one that is not known.
pub(super) fn script(shell: &str) -> &'static str {
    match shell {
        "zsh" => ZSH,
        "fish" => FISH,
        _ => BASH,
    }
}

/// Bash takes `:` and `=` for ends of words, so the line is split here, and
/// candidates lose what bash believes to be another word.
const BASH: &str = r#"# bash completion of rbuild

_rbuild() {
    local line="${COMP_LINE:0:COMP_POINT}" current="" name about
    local -a words
    read -ra words <<< "$line"
    [[ "$line" =~ [[:space:]]$ ]] && words+=("")
    current="${words[${#words[@]}-1]}"
    local before="${current%"${current##*[:=]}"}"
    COMPREPLY=()
    while IFS=$'\t' read -r name about; do
        if [[ "$name" == ":files" ]]; then
            compopt -o default 2> /dev/null
        else
            COMPREPLY+=("${name#"$before"}")
        fi
    done < <("${words[0]}" __complete -- "${words[@]:1}" 2> /dev/null)
}

complete -F _rbuild rbuild
"#;

const ZSH: &str = r#"#compdef rbuild
# zsh completion of rbuild

_rbuild() {
    local name about files=0
    local -a names
    while IFS=$'\t' read -r name about; do
        if [[ "$name" == ":files" ]]; then
            files=1
        elif [[ -n "$about" ]]; then
            names+=("${name//:/\\:}:$about")
        else
            names+=("${name//:/\\:}")
        fi
    done < <("${words[1]}" __complete -- "${(@)words[2,CURRENT]}" 2> /dev/null)
    (( ${#names} )) && _describe 'rbuild' names
    (( files )) && _files
}

if [[ "${funcstack[1]}" == "_rbuild" ]]; then
    _rbuild "$@"
else
    compdef _rbuild rbuild
fi
"#;

const FISH: &str = r#"# fish completion of rbuild

function __rbuild_ask
    set -l before (commandline --current-process --tokenize --cut-at-cursor)
    set -l current (commandline --current-token --cut-at-cursor)
    $before[1] __complete -- $before[2..-1] "$current" 2> /dev/null
end

function __rbuild_names
    __rbuild_ask | string match --invert ':files'
end

function __rbuild_wants_files
    __rbuild_ask | string match --quiet ':files'
end

complete --command rbuild --no-files --arguments '(__rbuild_names)'
complete --command rbuild --condition __rbuild_wants_files --force-files
"#;
