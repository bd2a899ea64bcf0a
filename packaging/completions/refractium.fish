# SPDX-License-Identifier: MIT
# Completion of refractium's command line for fish.

set -l commands tcp udp init check explain import record replay guard status top reload upgrade kill log ban unban drain undrain
set -l none "not __fish_seen_subcommand_from $commands"
set -l running "__fish_seen_subcommand_from status top reload upgrade kill log ban unban drain undrain"
set -l loading "not __fish_seen_subcommand_from init import guard status top reload upgrade kill log ban unban drain undrain"
set -l finding "not __fish_seen_subcommand_from init import guard"
set -l guard "__fish_seen_subcommand_from guard"
set -l explain "__fish_seen_subcommand_from explain"

complete -c refractium -f
complete -c refractium -n $none -a tcp -d 'serve TCP only'
complete -c refractium -n $none -a udp -d 'serve UDP only'
complete -c refractium -n $none -a init -d 'write a commented config'
complete -c refractium -n $none -a check -d 'validate the config, run its tests, print its routes'
complete -c refractium -n $none -a explain -d 'say which route some first bytes take, and why'
complete -c refractium -n $none -a import -d 'turn another program\'s config into refractium.lua'
complete -c refractium -n $none -a status -d 'show what the running instance does'
complete -c refractium -n $none -a top -d 'show its busiest connections, live'
complete -c refractium -n $none -a reload -d 'have it load its config again'
complete -c refractium -n $none -a upgrade -d 'have it replaced by the binary on disk, losing nothing'
complete -c refractium -n $none -a kill -d 'end one of its connections'
complete -c refractium -n $none -a log -d 'change how much it logs'
complete -c refractium -n $none -a ban -d 'keep an address or a block out for a while'
complete -c refractium -n $none -a drain -d 'send a backend no new connections'
complete -c refractium -n $none -a undrain -d 'send it connections again'
complete -c refractium -n $none -a unban -d 'let it in again'
complete -c refractium -n '__fish_seen_subcommand_from log' -a 'error warning info debug'
complete -c refractium -n $running -l admin -r -F -d 'the instance\'s admin socket'
complete -c refractium -n $none -a record -d 'serve, and keep first bytes and decisions in a file'
complete -c refractium -n $none -a replay -d 'decide a recording again and list what changes'
complete -c refractium -n '__fish_seen_subcommand_from record' -a 'start stop'
complete -c refractium -n '__fish_seen_subcommand_from record' -l admin -r -F -d 'the instance\'s admin socket'
complete -c refractium -n $none -a guard -d 'keep accounts of Xray to so many addresses'
complete -c refractium -n $guard -l dport -x -d 'ports that are guarded'
complete -c refractium -n $guard -l proto -x -a 'tcp udp both' -d 'of which transport'
complete -c refractium -n $guard -l window -x -d 'an address is active until so long after its last line'
complete -c refractium -n $guard -l timeout -x -d 'who is put out stays out for so long'
complete -c refractium -n $guard -l access.log -r -F -d 'the log that is followed'
complete -c refractium -n $guard -l block.log -r -F -d 'where violations are written down'
complete -c refractium -n $guard -l max-ips -x -d 'addresses of one user at one time'
complete -c refractium -n $guard -l keep -x -a 'first last' -d 'who keeps the place'
complete -c refractium -n $guard -l dry-run -d 'only count and write down'
complete -c refractium -n $guard -l debug -d 'log more'
complete -c refractium -n $guard -l log-format -x -a 'auto json text' -d 'how messages look'
complete -c refractium -n '__fish_seen_subcommand_from record' -s o -l output -r -F -d 'where to record'
complete -c refractium -n '__fish_seen_subcommand_from init explain import replay' -F
complete -c refractium -n '__fish_seen_subcommand_from import' -l format -x -a 'refractium rpxy portmux sslh refract' -d 'what FILE is'

complete -c refractium -n $loading -s b -l bind -x -d 'address to listen on (0.0.0.0)'
complete -c refractium -n $finding -s p -l port -x -d 'port to listen on (8080)'
complete -c refractium -n $finding -s c -l config -r -F -d 'config file (refractium.lua)'
complete -c refractium -n $loading -s f -l forward -x -d 'quick route: PROTO[/NAME]=TARGET[,TARGET...]'
complete -c refractium -n $loading -s w -l workers -x -d 'worker threads (one per core)'
complete -c refractium -n $loading -l peek-timeout -x -d 'how long a client may take to say who it is'
complete -c refractium -n $loading -l peek-buffer -x -d 'how many first bytes are looked at'
complete -c refractium -n $loading -l max-connections -x -d 'connections at one time'
complete -c refractium -n $loading -l no-hot-reload -d 'do not watch the config for changes'
complete -c refractium -n $loading -l debug -d 'log every connection\'s decisions'
complete -c refractium -n $loading -l log-format -x -a 'auto json text' -d 'how messages look'

complete -c refractium -n $explain -l hex -d 'input is hexadecimal text'
complete -c refractium -n $explain -l pcap -d 'input is a packet capture'
complete -c refractium -n $explain -l segments -x -d 'cut the one FILE where the client did: N,N,...'
complete -c refractium -n $explain -l udp -d 'each FILE is one datagram'
complete -c refractium -n $explain -l from -x -d 'the client\'s address (192.0.2.1)'
complete -c refractium -n $explain -l at -x -d 'when it comes, as in "2026-01-05 09:00" (now)'
complete -c refractium -n $explain -l listener -x -d 'the listener it comes to (the first)'
complete -c refractium -n $explain -l builtin -d 'no config: identify among everything that ships'
complete -c refractium -n '__fish_seen_subcommand_from check explain replay status top' -l json -d 'one JSON object instead of text'
complete -c refractium -n '__fish_seen_subcommand_from init' -l force -d 'overwrite an existing file'

complete -c refractium -s q -l quiet -d 'warnings and errors only'
complete -c refractium -s V -l version -d 'print the version'
complete -c refractium -s h -l help -d 'show help'
