"""The plots of a report, one module a few of them; `registry` names them."""
