"""The language client and service share: errors, terms, version names, array codec. numpy only."""
