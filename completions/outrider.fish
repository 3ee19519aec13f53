# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_outrider_global_optspecs
    string join \n c/config= log-level= admin-socket= h/help V/version
end

function __fish_outrider_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_outrider_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_outrider_using_subcommand
    set -l cmd (__fish_outrider_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c outrider -n "__fish_outrider_needs_command" -s c -l config -d 'Configuration file [default: /etc/outrider/outrider.toml if it is there, else the built-in configuration]' -r -F
complete -c outrider -n "__fish_outrider_needs_command" -l log-level -d 'How much to log: error, warn, info, debug or trace, for all or by module' -r
complete -c outrider -n "__fish_outrider_needs_command" -l admin-socket -d 'Serve the admin API on this Unix socket, whatever the configuration says' -r -F
complete -c outrider -n "__fish_outrider_needs_command" -s h -l help -d 'Print help'
complete -c outrider -n "__fish_outrider_needs_command" -s V -l version -d 'Print version'
complete -c outrider -n "__fish_outrider_needs_command" -f -a "check" -d 'Check a configuration file, report every error and warning, and exit'
complete -c outrider -n "__fish_outrider_needs_command" -f -a "env" -d 'Print the settings that make a client use the proxy, such as `eval "$(outrider env)"`'
complete -c outrider -n "__fish_outrider_needs_command" -f -a "reload" -d 'Make the running proxy reload its configuration; returns when it is in force, or says why it is not'
complete -c outrider -n "__fish_outrider_needs_command" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c outrider -n "__fish_outrider_using_subcommand check" -s c -l config -d 'Configuration file [default: /etc/outrider/outrider.toml if it is there, else the built-in configuration]' -r -F
complete -c outrider -n "__fish_outrider_using_subcommand check" -l strict -d 'Exit with 2 for warnings, too'
complete -c outrider -n "__fish_outrider_using_subcommand check" -s h -l help -d 'Print help'
complete -c outrider -n "__fish_outrider_using_subcommand env" -l shell -d 'Client to print settings for' -r -f -a "sh\t''
fish\t''
systemd\t''
apt\t''
dnf\t''
yum\t''
pip\t''
npm\t''
node\t''
cargo\t''
git\t''
curl\t''
wget\t''
docker\t''
docker-daemon\t''
podman\t''
java\t''
gradle\t''
maven\t''
ssh\t''
chromium\t''
firefox\t''"
complete -c outrider -n "__fish_outrider_using_subcommand env" -l root -d 'The machine whose files lie below this directory, such as an image' -r -F
complete -c outrider -n "__fish_outrider_using_subcommand env" -s c -l config -d 'Configuration file [default: /etc/outrider/outrider.toml if it is there, else the built-in configuration]' -r -F
complete -c outrider -n "__fish_outrider_using_subcommand env" -l install -d 'Add the settings to the client\'s own file and show what was changed'
complete -c outrider -n "__fish_outrider_using_subcommand env" -l remove -d 'Remove from that file exactly what --install added'
complete -c outrider -n "__fish_outrider_using_subcommand env" -l user -d 'The settings of this user, even if that is root'
complete -c outrider -n "__fish_outrider_using_subcommand env" -s h -l help -d 'Print help'
complete -c outrider -n "__fish_outrider_using_subcommand reload" -l socket -d 'The Unix socket of its admin API' -r -F
complete -c outrider -n "__fish_outrider_using_subcommand reload" -s c -l config -d 'Configuration file [default: /etc/outrider/outrider.toml if it is there, else the built-in configuration]' -r -F
complete -c outrider -n "__fish_outrider_using_subcommand reload" -s h -l help -d 'Print help'
complete -c outrider -n "__fish_outrider_using_subcommand help; and not __fish_seen_subcommand_from check env reload help" -f -a "check" -d 'Check a configuration file, report every error and warning, and exit'
complete -c outrider -n "__fish_outrider_using_subcommand help; and not __fish_seen_subcommand_from check env reload help" -f -a "env" -d 'Print the settings that make a client use the proxy, such as `eval "$(outrider env)"`'
complete -c outrider -n "__fish_outrider_using_subcommand help; and not __fish_seen_subcommand_from check env reload help" -f -a "reload" -d 'Make the running proxy reload its configuration; returns when it is in force, or says why it is not'
complete -c outrider -n "__fish_outrider_using_subcommand help; and not __fish_seen_subcommand_from check env reload help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
