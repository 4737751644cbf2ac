import type { Command } from '../cli/command.js';
import { printLine } from '../cli/output.js';

/** Both ask the program itself, so completion knows accounts and drives and never goes stale. It knows names that a server
 * tells, too: they are only ever compared and offered, never given to what expands them (`compgen -W` runs `$(…)`). */
const SCRIPTS = {
  bash: `# cloudmount completion for bash. For good: cloudmount completion bash > ~/.local/share/bash-completion/completions/cloudmount
_cloudmount() {
  local word=\${COMP_WORDS[COMP_CWORD]} known
  COMPREPLY=()
  while IFS= read -r known; do
    [[ $known == "$word"* ]] && COMPREPLY+=("$known")
  done < <(cloudmount --get-yargs-completions "\${COMP_WORDS[@]}" 2>/dev/null)
  [ \${#COMPREPLY[@]} -gt 0 ] || mapfile -t COMPREPLY < <(compgen -f -- "$word")
}
complete -o filenames -F _cloudmount cloudmount`,
  zsh: `#compdef cloudmount
# cloudmount completion for zsh. For good: cloudmount completion zsh > "\${fpath[1]}/_cloudmount"
_cloudmount() {
  local -a replies
  replies=("\${(@f)$(SHELL=zsh cloudmount --get-yargs-completions "\${words[@]}" 2>/dev/null)}")
  replies=("\${(@)replies:#}")
  if (( \${#replies} )); then
    _describe 'cloudmount' replies
  else
    _files
  fi
}
if [ "\${funcstack[1]}" = _cloudmount ]; then _cloudmount "$@"; else compdef _cloudmount cloudmount; fi`,
} as const;

export const completion: Command<{ readonly shell: keyof typeof SCRIPTS }> = {
  command: 'completion <shell>',
  describe: 'Print the completion script of a shell',
  builder: (yargs) =>
    yargs
      .positional('shell', { choices: ['bash', 'zsh'] as const, demandOption: true, describe: 'bash or zsh' })
      .example('source <($0 completion bash)', 'For this shell'),
  handler: async ({ shell }) => {
    printLine(SCRIPTS[shell]);
  },
};
