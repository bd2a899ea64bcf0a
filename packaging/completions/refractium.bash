# SPDX-License-Identifier: MIT
# Completion of refractium's command line for bash.

_refractium() {
    local cur prev word command= i
    cur=${COMP_WORDS[COMP_CWORD]}
    prev=${COMP_WORDS[COMP_CWORD - 1]}
    COMPREPLY=()

    local with_value=' -b --bind -p --port -c --config -f --forward -w --workers --peek-timeout --peek-buffer'
    with_value+=' --max-connections --log-format --segments --from --at --listener --format --admin -o --output --dport --proto --window'
    with_value+=' --timeout --access.log --block.log --max-ips --keep '
    for ((i = 1; i < COMP_CWORD; i++)); do
        word=${COMP_WORDS[i]}
        if [[ $with_value == *" $word "* ]]; then
            ((i++))
        elif [[ $word != -* && -z $command ]]; then
            command=$word
        fi
    done

    case $prev in
    -o | --output | --access.log | --block.log)
        compopt -o filenames 2>/dev/null
        mapfile -t COMPREPLY < <(compgen -f -- "$cur")
        return
        ;;
    -c | --config)
        compopt -o filenames 2>/dev/null
        mapfile -t COMPREPLY < <(compgen -f -X '!*.lua' -- "$cur"; compgen -d -- "$cur")
        return
        ;;
    --format)
        mapfile -t COMPREPLY < <(compgen -W 'refractium rpxy portmux sslh refract' -- "$cur")
        return
        ;;
    --proto)
        mapfile -t COMPREPLY < <(compgen -W 'tcp udp both' -- "$cur")
        return
        ;;
    --keep)
        mapfile -t COMPREPLY < <(compgen -W 'first last' -- "$cur")
        return
        ;;
    --log-format)
        mapfile -t COMPREPLY < <(compgen -W 'auto json text' -- "$cur")
        return
        ;;
    esac
    [[ $with_value == *" $prev "* ]] && return

    local loading='-b --bind -p --port -c --config -f --forward -w --workers --peek-timeout --peek-buffer'
    loading+=' --max-connections --no-hot-reload --debug --log-format'
    local running='-p --port -c --config --admin'
    local always='-q --quiet -V --version -h --help'
    local options
    case $command in
    '' | tcp | udp) options="$loading $always" ;;
    init) options="--force $always" ;;
    status | top) options="$running --json $always" ;;
    reload | upgrade | kill | log | ban | unban | drain | undrain) options="$running $always" ;;
    import) options="--format $always" ;;
    record) options="$loading --admin -o --output $always" ;;
    replay) options="$loading --json $always" ;;
    guard)
        options="--dport --proto --window --timeout --access.log --block.log --max-ips --keep --dry-run"
        options+=" --debug --log-format $always"
        ;;
    check) options="$loading --json $always" ;;
    explain) options="$loading --hex --pcap --segments --udp --from --at --listener --builtin --json $always" ;;
    *) return ;;
    esac

    if [[ $cur == -* ]]; then
        mapfile -t COMPREPLY < <(compgen -W "$options" -- "$cur")
    elif [[ -z $command ]]; then
        mapfile -t COMPREPLY < <(compgen -W 'tcp udp init check explain import record replay guard status top reload upgrade kill log ban unban drain undrain' -- "$cur")
    elif [[ $command == record ]]; then
        mapfile -t COMPREPLY < <(compgen -W 'start stop' -- "$cur")
    elif [[ $command == log ]]; then
        mapfile -t COMPREPLY < <(compgen -W 'error warning info debug' -- "$cur")
    elif [[ $command == explain || $command == init || $command == import || $command == replay ]]; then
        compopt -o filenames 2>/dev/null
        mapfile -t COMPREPLY < <(compgen -f -- "$cur")
    fi
}

complete -F _refractium refractium
