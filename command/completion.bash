# Completion of `auriga` for bash: the options of --help, then commands, then files.

_auriga() {
    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]} help valued i

    COMPREPLY=()
    if [ "$COMP_CWORD" -eq 1 ]; then
        mapfile -t COMPREPLY < <(compgen -W "map --help --version" -- "$word")
        return
    fi
    help=$("${COMP_WORDS[0]}" --help 2>/dev/null)
    valued=" -j -P -n -a -l $(grep -oE -- '--[a-z-]+ [A-Z]+' <<<"$help" | sed 's/ .*//' | tr '\n' ' ')"
    for ((i = 2; i < COMP_CWORD; i++)); do
        case ${COMP_WORDS[i]} in
        -*) [[ $valued == *" ${COMP_WORDS[i]} "* ]] && i=$((i + 1)) ;;
        *) return ;; # the command is there: files, as bash completes them
        esac
    done
    if [ "$i" -gt "$COMP_CWORD" ]; then # the value of an option
        if [ "$before" = --halt ]; then
            mapfile -t COMPREPLY < <(compgen -W "never soon now" -- "$word")
        fi
    elif [[ $word == -* ]]; then
        mapfile -t COMPREPLY < <(compgen -W "$(grep -oE -- '--[a-z-]+' <<<"$help" | sort -u)" -- "$word")
    else
        mapfile -t COMPREPLY < <(compgen -c -- "$word" | sort -u)
    fi
}

complete -o default -F _auriga auriga
