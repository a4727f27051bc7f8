"""The virtual switch as a decision maker: switches, port groups, ports, their policy, and decide().

Pure: standard library only; no IO, no clock, no logging. Time comes as an argument, denials are values. The pf package asks
it before anything in the data path changes; it never touches a frame.
"""
